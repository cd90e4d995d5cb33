// The painter of the focus score: strokes on a canvas over the picture, sent as a PNG after each.
// `element`, `trigger` and `watch` come from gr.HTML; nls_core/views/focus_html.py makes the markup.
const COLOUR = '#22d3ee', STEP = 0.02, FAR = 0.1; // what an arrow key moves, in long edges; with Shift
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const TOGETHER = 100; // milliseconds
const MOST = 30; // strokes that can be undone, of 0.9 MB each
let tool = 'brush', last = null, cursor = [0, 0], down = false, before = [], waiting = 0;
const find = (selector) => element.querySelector(selector);
const canvas = () => find('canvas');
const pixels = () => canvas().getContext('2d').getImageData(0, 0, canvas().width, canvas().height);
const size = () => find('input[type=range]').value / 100 * Math.max(canvas().width, canvas().height);

function choose(name) {
  tool = name;
  element.querySelectorAll('[data-tool]').forEach((button) =>
    button.setAttribute('aria-pressed', String(button.dataset.tool === name)));
}

function clear() {
  canvas().getContext('2d').clearRect(0, 0, canvas().width, canvas().height);
}

async function begin() { // a new picture: without paint, or with the mask that came along
  if (!canvas()) return;
  clear();
  choose('brush');
  [before, down] = [[], false];
  undoable();
  [cursor, last] = [[canvas().width / 2, canvas().height / 2], null];
  place();
  const given = find('img.given'), pen = canvas().getContext('2d');
  if (!given) return;
  await given.decode();
  pen.drawImage(given, 0, 0, canvas().width, canvas().height);
  const image = pixels(), data = image.data;
  for (let i = 0; i < data.length; i += 4) {
    const inside = data[i] > 127;
    [data[i], data[i + 1], data[i + 2], data[i + 3]] = inside ? [34, 211, 238, 255] : [0, 0, 0, 0];
  }
  pen.putImageData(image, 0, 0);
}

function send() { // once for strokes that follow each other at once
  clearTimeout(waiting);
  waiting = setTimeout(() => trigger('paint', {
    mask: canvas().toDataURL('image/png'), picture: find('.nls-paint').dataset.picture,
  }), TOGETHER);
}

// --- strokes, and taking them back ---------------------------------------------------------------

function undoable() {
  find('[data-tool=undo]').setAttribute('aria-disabled', String(!before.length));
}

function keep() { // what a stroke is about to change
  before = [...before, pixels()].slice(-MOST);
  undoable();
}

function undo() {
  lift();
  if (!before.length) return;
  canvas().getContext('2d').putImageData(before.pop(), 0, 0);
  undoable();
  tell('the last stroke is taken back');
  send();
}

function draw(point) { // a line from the last point; from none, a dot
  const pen = canvas().getContext('2d');
  pen.globalCompositeOperation = tool === 'eraser' ? 'destination-out' : 'source-over';
  pen.strokeStyle = pen.fillStyle = COLOUR;
  pen.lineCap = pen.lineJoin = 'round';
  pen.lineWidth = size();
  pen.beginPath();
  if (last) {
    pen.moveTo(...last);
    pen.lineTo(...point);
    pen.stroke();
  } else { // a line of no length is not drawn
    pen.arc(...point, size() / 2, 0, 2 * Math.PI);
    pen.fill();
  }
  last = point;
}

function at(event) {
  const area = canvas().getBoundingClientRect(), scale = canvas().width / area.width;
  return [(event.clientX - area.left) * scale, (event.clientY - area.top) * scale];
}

element.addEventListener('pointerdown', (event) => {
  if (event.target.tagName !== 'CANVAS' || event.button) return;
  event.preventDefault();
  canvas().focus({ preventScroll: true }); // so that Ctrl+Z is heard
  canvas().setPointerCapture(event.pointerId);
  lift();
  keep();
  draw(at(event));
});
element.addEventListener('pointermove', (event) => { if (last && !down) draw(at(event)); });
for (const end of ['pointerup', 'pointercancel']) {
  element.addEventListener(end, () => { if (last && !down) { last = null; send(); } });
}
element.addEventListener('click', (event) => {
  const name = event.target.dataset?.tool;
  if (name === 'undo') undo();
  else if (name === 'clear') { keep(); clear(); choose('brush'); send(); } else if (name) choose(name);
});

// --- without a pointer: arrows move the brush, the space bar puts it down and lifts it ------------

function tell(what) {
  const [across, far] = [cursor[0] / canvas().width, cursor[1] / canvas().height];
  find('.told').textContent =
    `${Math.round(100 * across)} % across, ${Math.round(100 * far)} % down: ${what}`;
}

function place() {
  const mark = find('.cursor');
  mark.style.left = `${100 * cursor[0] / canvas().width}%`;
  mark.style.top = `${100 * cursor[1] / canvas().height}%`;
  mark.style.width = `${100 * size() / canvas().width}%`;
  mark.classList.toggle('down', down);
}

function lift() {
  if (!down) return;
  [down, last] = [false, null];
  place();
  send();
}

function press() {
  down = true;
  keep();
  draw(cursor);
  place();
}

function move([across, far], step) {
  const way = step * Math.max(canvas().width, canvas().height);
  cursor = [Math.min(Math.max(cursor[0] + across * way, 0), canvas().width),
    Math.min(Math.max(cursor[1] + far * way, 0), canvas().height)];
  if (down) draw(cursor);
  place();
}

element.addEventListener('keydown', (event) => {
  if (event.target.tagName !== 'CANVAS') return;
  const back = event.key.toLowerCase() === 'z' && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  const arrow = !event.ctrlKey && !event.metaKey && !event.altKey && ARROWS[event.key];
  if (!back && !arrow && event.key !== ' ') return;
  event.preventDefault();
  if (back) { undo(); return; }
  if (arrow) move(arrow, event.shiftKey ? FAR : STEP);
  else if (event.repeat) return;
  else if (down) lift();
  else press();
  tell(down ? `the ${tool} is down` : `the ${tool} is up`);
});
element.addEventListener('focusout', (event) => { if (event.target === canvas()) lift(); });
element.addEventListener('input', place); // the size
watch('value', begin);
begin();
