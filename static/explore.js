// What the result of Compare does in the browser: another strength at once, pictures large, terms
// explained, changes announced. `element`, `props` and `watch` come from gr.HTML, whose value is what
// nls_core/views/panels.py `frames` writes; nls_core/views/cards.py makes the markup.
const one = (selector) => document.querySelector(selector);
let held = { name: '', frames: {} };

// --- strengths: all that are computed are here, and shown without asking ------------------------

function strength() { // where the slider stands, as `frames` names it
  const input = one('#epsilon input[type=range]');
  return input ? String(Number(Number(input.value).toPrecision(4))) : '';
}

function follow() {
  const shown = one('#result .nls-result');
  if (!shown || shown.dataset.frames !== held.name) return;
  const place = strength(), slots = held.frames[place];
  if (!slots || shown.dataset.epsilon === place) return;
  shown.dataset.epsilon = place;
  for (const [name, html] of Object.entries(slots)) {
    const slot = shown.querySelector(`[data-slot="${name}"]`);
    if (slot) slot.innerHTML = html;
  }
}

function take() {
  if (props.value) held = JSON.parse(props.value);
  follow();
}

document.addEventListener('input', (event) => {
  if (!event.target.closest?.('#epsilon')) return;
  const range = one('#epsilon input[type=range]');
  if (event.target !== range && event.target.value !== '') range.value = event.target.value;
  follow();
}, true);

// --- one quiet place that tells a screen reader what is new -------------------------------------

let said = '';

function announce() { // static/values.js speaks there as well
  const busy = one('#message p')?.innerText || '', told = one('.nls-sentence')?.innerText || '';
  const text = busy || told, live = one('#nls-live');
  if (live && said !== text) live.textContent = said = text;
}

new MutationObserver(() => { follow(); announce(); }).observe(one('#main') || document.body,
  { childList: true, subtree: true });

// --- pictures large, the attacked one over the clean one ----------------------------------------

function enlarge(button) {
  const dialog = one('#nls-large'), image = button.querySelector('img');
  const figure = button.closest('figure'), faces = button.closest('.nls-faces');
  const clean = faces?.querySelector('img'), wipes = faces && clean !== image;
  dialog.classList.toggle('wipes', Boolean(wipes));
  dialog.classList.toggle('cells', Boolean(button.closest('.nls-cells')));
  dialog.querySelector('.over').src = image.src;
  dialog.querySelector('.over').alt = image.alt;
  dialog.querySelector('.under').src = wipes ? clean.src : image.src;
  dialog.querySelector('p').innerText = figure.querySelector('figcaption').innerText;
  wipe(50);
  dialog.showModal();
}

function wipe(percent) {
  const dialog = one('#nls-large');
  dialog.querySelector('input').value = percent;
  dialog.style.setProperty('--wipe', `${percent}%`);
}

// --- terms: a button opens its text by itself; hover and the keyboard's focus do too ------------

let waiting = 0;

function explain(button) {
  const tip = document.getElementById(button.getAttribute('popovertarget'));
  if (!tip) return;
  if (!tip.matches(':popover-open')) tip.showPopover();
  const place = button.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const left = Math.min(Math.max(place.left, 8), window.innerWidth - size.width - 8);
  const below = place.bottom + size.height + 8 < window.innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? place.bottom + 4 : Math.max(place.top - size.height - 4, 8)}px`;
}

const term = (event) => event.target.closest?.('.nls-term');
document.addEventListener('pointerover', (event) => {
  clearTimeout(waiting);
  if (event.pointerType === 'touch') return;
  const button = term(event), open = one('.nls-tip:popover-open');
  if (button) waiting = setTimeout(() => explain(button), 150);
  else if (open && !event.target.closest('.nls-tip')) waiting = setTimeout(() => open.hidePopover(), 300);
});
document.addEventListener('focusin', (event) => {
  const button = term(event);
  if (button?.matches(':focus-visible')) explain(button);
});
document.addEventListener('focusout', (event) => {
  const open = one('.nls-tip:popover-open');
  if (open && term(event) && !event.relatedTarget?.closest?.('.nls-tip')) open.hidePopover();
});

document.addEventListener('click', (event) => {
  const button = term(event), picture = event.target.closest('.nls-zoom');
  const scale = event.target.closest('[data-scale]');
  if (button) { event.preventDefault(); explain(button); } // else a second click would close it
  if (picture) enlarge(picture);
  if (scale) [...document.querySelectorAll('#scale label')]
    .find((label) => label.innerText.trim() === scale.dataset.scale)?.click();
  if (event.target.closest('#nls-large') && !event.target.closest('input, figure')) one('#nls-large').close();
});
document.addEventListener('input', (event) => {
  if (event.target.closest?.('#nls-large')) wipe(event.target.value);
});
document.addEventListener('pointermove', (event) => {
  const stage = event.target.closest?.('#nls-large.wipes .stage');
  if (!stage) return;
  const area = stage.getBoundingClientRect();
  wipe(Math.round(100 * Math.min(Math.max((event.clientX - area.left) / area.width, 0), 1)));
});

watch('value', take);
take();
announce();
