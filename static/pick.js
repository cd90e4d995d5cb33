// The examples: one stop of the Tab key, arrows lead from picture to picture. `element` and `trigger`
// come from gr.HTML; `gallery` in nls_core/web/pages/widgets.py makes the markup.
const buttons = () => [...element.querySelectorAll('button')];

function stop(chosen) {
  for (const button of buttons()) button.tabIndex = button === chosen ? 0 : -1;
}

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  for (const each of buttons()) each.setAttribute('aria-pressed', String(each === button));
  stop(button);
  trigger('select', { index: buttons().indexOf(button), value: button.innerText });
});
element.addEventListener('keydown', (event) => {
  const all = buttons(), at = all.indexOf(document.activeElement);
  const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1,
    Home: 0, End: all.length - 1 }[event.key];
  if (at < 0 || to === undefined || !all[to]) return;
  event.preventDefault();
  stop(all[to]);
  all[to].focus();
});
