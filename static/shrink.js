// Pictures beyond this deployment's limits are made smaller before they are sent: models see a few
// hundred pixels of an edge. `element` comes from gr.HTML, whose markup names the limits.
const limits = () => element.querySelector('[data-bytes]').dataset;
const LONGEST = 2048, QUALITY = 0.92;
const done = new WeakSet();

async function smaller(file) {
  const { bytes, pixels } = limits();
  if (!/^image\/(jpeg|png|webp|bmp)$/.test(file.type)) return file;
  if (file.size <= bytes / 4) { // few bytes may still be many pixels
    const size = await createImageBitmap(file).then((b) => { const n = b.width * b.height; b.close(); return n; }, () => 0);
    if (size <= pixels) return file;
  }
  const whole = await createImageBitmap(file).catch(() => null); // upright, as cameras mean it
  if (!whole) return file; // the server says what is wrong with it
  if (file.size <= bytes && whole.width * whole.height <= pixels) { whole.close(); return file; }
  const scale = Math.min(1, LONGEST / Math.max(whole.width, whole.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(whole.width * scale));
  canvas.height = Math.max(1, Math.round(whole.height * scale));
  const pen = canvas.getContext('2d');
  pen.fillStyle = '#fff'; // where a PNG is transparent
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(whole, 0, 0, canvas.width, canvas.height);
  whole.close();
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
