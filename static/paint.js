// The painter of the focus score: strokes on a canvas over the picture, sent as a PNG after each.
// `element`, `trigger` and `watch` come from gr.HTML; nls_core/views/focus_html.py makes the markup.
const COLOUR = '#22d3ee';
let tool = 'brush', last = null;
const find = (selector) => element.querySelector(selector);
const canvas = () => find('canvas');

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
  const given = find('img.given'), pen = canvas().getContext('2d');
  if (!given) return;
  await given.decode();
  pen.drawImage(given, 0, 0, canvas().width, canvas().height);
  const image = pen.getImageData(0, 0, canvas().width, canvas().height), data = image.data;
  for (let i = 0; i < data.length; i += 4) {
    const inside = data[i] > 127;
    [data[i], data[i + 1], data[i + 2], data[i + 3]] = inside ? [34, 211, 238, 255] : [0, 0, 0, 0];
  }
  pen.putImageData(image, 0, 0);
}

function send() {
  trigger('paint', { mask: canvas().toDataURL('image/png'), picture: find('.nls-paint').dataset.picture });
}

function stroke(event) {
  const area = canvas().getBoundingClientRect(), pen = canvas().getContext('2d');
  const scale = canvas().width / area.width;
  const point = [(event.clientX - area.left) * scale, (event.clientY - area.top) * scale];
  pen.globalCompositeOperation = tool === 'eraser' ? 'destination-out' : 'source-over';
  pen.strokeStyle = COLOUR;
  pen.lineCap = pen.lineJoin = 'round';
  pen.lineWidth = find('input[type=range]').value / 100 * Math.max(canvas().width, canvas().height);
  pen.beginPath();
  pen.moveTo(...(last || point));
  pen.lineTo(...point); // of length 0: a dot
  pen.stroke();
  last = point;
}

element.addEventListener('pointerdown', (event) => {
  if (event.target.tagName !== 'CANVAS' || event.button) return;
  event.preventDefault();
  canvas().setPointerCapture(event.pointerId);
  last = null;
  stroke(event);
});
element.addEventListener('pointermove', (event) => { if (last) stroke(event); });
for (const end of ['pointerup', 'pointercancel']) {
  element.addEventListener(end, () => { if (last) { last = null; send(); } });
}
element.addEventListener('click', (event) => {
  const name = event.target.dataset?.tool;
  if (name === 'clear') { clear(); choose('brush'); send(); } else if (name) choose(name);
});
watch('value', begin);
begin();
