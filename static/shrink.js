// Pictures beyond this deployment's limits, or of kinds that it does not read, are drawn anew before
// they are sent: models see a few hundred pixels of an edge. `element` comes from gr.HTML, whose markup names the limits.
const limits = () => element.querySelector('[data-bytes]').dataset;
const LONGEST = 2048, QUALITY = 0.92;
const done = new WeakSet();

const SENT = /^image\/(jpeg|png|webp|gif|bmp)$/; // what the server reads

function drawn(file) { // a picture of a kind that only browsers read: SVG, AVIF …
  return new Promise((give) => {
    const image = new Image(), url = URL.createObjectURL(file);
    image.onload = () => { URL.revokeObjectURL(url); give(image); };
    image.onerror = () => { URL.revokeObjectURL(url); give(null); };
    image.src = url;
  });
}

async function smaller(file) {
  const { bytes, pixels } = limits(), strange = !SENT.test(file.type);
  if (!file.type.startsWith('image/')) return file;
  const whole = await drawn(file); // upright, as cameras mean it
  if (!whole) return file; // the server says what is wrong with it
  const width = whole.naturalWidth || 512, height = whole.naturalHeight || 512;
  if (!strange && file.size <= bytes && width * height <= pixels) return file;
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const pen = canvas.getContext('2d');
  pen.fillStyle = '#fff'; // where it is transparent
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(whole, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((give) => canvas.toBlob(give, 'image/jpeg', QUALITY));
  return blob ? new File([blob], file.name.replace(/\.\w+$/, '') + '.jpg', { type: 'image/jpeg' }) : file;
}

async function swapped(files) {
  const transfer = new DataTransfer();
  for (const file of files) transfer.items.add(await smaller(file));
  return transfer;
}

const mine = (event) => Boolean(event.target.closest?.('#upload')) && !done.has(event);

document.addEventListener('change', async (event) => {
  const input = event.target;
  if (!mine(event) || input.type !== 'file' || !input.files.length) return;
  event.stopImmediatePropagation();
  input.files = (await swapped([...input.files])).files;
  const again = new Event('change', { bubbles: true });
  done.add(again);
  input.dispatchEvent(again);
}, true);

document.addEventListener('drop', async (event) => {
  if (!mine(event) || !event.dataTransfer?.files.length) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const target = event.target, transfer = await swapped([...event.dataTransfer.files]);
  const again = new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: transfer });
  done.add(again);
  target.dispatchEvent(again);
}, true);
