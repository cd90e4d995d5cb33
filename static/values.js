// The value of a map under the pointer, on all maps of the result at the same place. What a map's
// button holds, nls_core/views/cards.py writes: a byte a cell between two ends.
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
const maps = (of) => [...of.closest('.nls-result').querySelectorAll('[data-map]')];
let large = null; // the map that the dialog shows

function grid(map) {
  const cells = Uint8Array.from(atob(map.dataset.map), (c) => c.charCodeAt(0));
  const wide = Number(map.dataset.wide);
  return { cells, wide, high: cells.length / wide };
}

function byte({ cells, wide, high }, x, y, raw) { // at shares of the picture's width and height
  if (raw) return cells[clamp(Math.floor(y * high), 0, high - 1) * wide + clamp(Math.floor(x * wide), 0, wide - 1)];
  const u = clamp(x * wide - 0.5, 0, wide - 1), v = clamp(y * high - 0.5, 0, high - 1);
  const left = Math.floor(u), top = Math.floor(v);
  const right = Math.min(left + 1, wide - 1), below = Math.min(top + 1, high - 1);
  const row = (at) => cells[at * wide + left] * (1 - u + left) + cells[at * wide + right] * (u - left);
  return row(top) * (1 - v + top) + row(below) * (v - top);
}

function value(map, x, y) { // as text, with as many places as a fortieth of the range needs
  const low = Number(map.dataset.low), high = Number(map.dataset.high), range = high - low;
  const found = low + range * byte(grid(map), x, y, 'raw' in map.dataset) / 255;
  const places = range > 0 ? clamp(Math.ceil(-Math.log10(range / 40) - 1e-9), 0, 8) : 0;
  const text = Math.abs(found).toFixed(places);
  if (low >= 0 || !Number(text)) return text;
  return (found < 0 ? '-' : '+') + text;
}

function mark(element, text, x, y) {
  const at = element.querySelector('.nls-value') || element.appendChild(document.createElement('i'));
  at.className = `nls-value${x > 0.5 ? ' left' : ''}${y > 0.5 ? ' up' : ''}`;
  at.ariaHidden = true;
  at.dataset.text = text;
  Object.assign(at.style, { left: `${100 * x}%`, top: `${100 * y}%` });
}

const clear = () => document.querySelectorAll('.nls-value').forEach((each) => each.remove());

function tell(from, x, y) {
  for (const map of maps(from)) mark(map, value(map, x, y), x, y);
}

function alike(map) { // the same map of each model, and what the model is called
  const kind = map.closest('[data-slot]').dataset.slot.replace(/^\d+/, '');
  return maps(map).filter((each) => each.closest('[data-slot]').dataset.slot.replace(/^\d+/, '') === kind)
    .map((each) => [each.closest('.nls-model').querySelector('.nls-role').innerText.split(' · ')[0], each]);
}

const words = (map, x, y) => alike(map).map(([who, each]) => `${who} ${value(each, x, y)}`).join(', ');

function place(event, element) {
  const area = element.getBoundingClientRect();
  return [clamp((event.clientX - area.left) / area.width, 0, 1), clamp((event.clientY - area.top) / area.height, 0, 1)];
}

function point(event) {
  const map = event.target.closest?.('.nls-zoom[data-map]'), stage = event.target.closest?.('#nls-large .stage');
  if (map) tell(map, ...place(event, map));
  else if (stage && large) {
    const at = place(event, stage);
    mark(stage, value(large, ...at), ...at);
    document.querySelector('#nls-large .values').textContent = words(large, ...at);
  } else if (event.pointerType !== 'touch') clear();
}

document.addEventListener('pointermove', point);
document.addEventListener('pointerdown', point);

document.addEventListener('click', (event) => {
  const button = event.target.closest('.nls-zoom');
  if (!button) return;
  clear();
  large = 'map' in button.dataset ? button : null;
  document.querySelector('#nls-large .values').textContent = '';
});

document.addEventListener('keydown', (event) => { // a cell at a time, from where the map is largest
  const map = event.target.closest?.('.nls-zoom[data-map]'), step = KEYS[event.key];
  if (!map || !step) return;
  event.preventDefault();
  const { cells, wide, high } = grid(map), shown = map.querySelector('.nls-value');
  const first = cells.indexOf(Math.max(...cells));
  let [x, y] = [first % wide, Math.floor(first / wide)];
  if (shown) {
    x = clamp(Math.floor(parseFloat(shown.style.left) / 100 * wide) + step[0], 0, wide - 1);
    y = clamp(Math.floor(parseFloat(shown.style.top) / 100 * high) + step[1], 0, high - 1);
  }
  tell(map, (x + 0.5) / wide, (y + 0.5) / high);
  const live = document.querySelector('#nls-live');
  if (live) live.textContent = words(map, (x + 0.5) / wide, (y + 0.5) / high);
});
document.addEventListener('focusout', (event) => { if (event.target.closest?.('[data-map]')) clear(); });
