// Sorts a table of a batch by the column whose head is clicked; `element` holds it.
element.addEventListener('click', event => {
  const button = event.target.closest('.nls-batch th button');
  if (!button) return;
  const head = button.parentElement, table = head.closest('table'), column = Number(head.dataset.column);
  const up = head.getAttribute('aria-sort') !== 'ascending';
  for (const each of table.querySelectorAll('th')) each.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const number = row => row.cells[column].dataset.v, text = row => row.cells[column].textContent;
  const order = (a, b) => number(a) === undefined
    ? text(a).localeCompare(text(b), undefined, { numeric: true }) : number(a) - number(b);
  const rows = [...table.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * order(a, b));
  table.tBodies[0].append(...rows);
});
