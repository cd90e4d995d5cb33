// Four steps through Compare on a first visit; remembered, and shown again on demand. `element` comes
// from gr.HTML; nls_core/web/pages/tour.py makes the markup: a dialog's worth of <li>, each with the
// selector of what it is about.
const KEY = 'nls-lab-tour';
const box = element.querySelector('.nls-tour'), steps = [...box.querySelectorAll('li')];
let at = 0, before = null, height = 0;

const seen = () => { try { return localStorage.getItem(KEY); } catch { return 'blocked'; } };
const remember = () => { try { localStorage.setItem(KEY, 'seen'); } catch { /* shown again then */ } };

function light(target) {
  document.querySelectorAll('.nls-lit').forEach((each) => each.classList.remove('nls-lit'));
  target?.classList.add('nls-lit');
}

function place(target) { // beside what it is about, within the window
  const area = target.getBoundingClientRect(), own = box.getBoundingClientRect();
  const below = area.bottom + 10 + own.height < window.innerHeight;
  const top = below ? area.bottom + 10 : Math.max(area.top - own.height - 10, 10);
  box.style.top = `${Math.min(top, window.innerHeight - own.height - 10)}px`;
  box.style.left = `${Math.min(Math.max(area.left, 10), window.innerWidth - own.width - 10)}px`;
}

function go(index) {
  at = index;
  steps.forEach((step, i) => { step.hidden = i !== at; });
  box.querySelector('.count').innerText = `${at + 1} of ${steps.length}`;
  box.querySelector('[data-tour=back]').disabled = at === 0;
  box.querySelector('[data-tour=next]').innerText = at === steps.length - 1 ? 'Done' : 'Next';
  const target = document.querySelector(steps[at].dataset.at);
  light(target);
  if (!target) return;
  const { top } = target.getBoundingClientRect();
  if (top < 0 || top > 0.8 * window.innerHeight) { // else what the page opens with stays in sight
    target.scrollIntoView({ block: 'center', behavior: 'instant' });
  }
  place(target);
}

function open() {
  before = document.activeElement;
  height = window.scrollY;
  box.showPopover();
  go(0);
  box.querySelector('[data-tour=next]').focus({ preventScroll: true });
}

function close() {
  remember();
  light(null);
  if (box.matches(':popover-open')) box.hidePopover();
  window.scrollTo({ top: height, behavior: 'instant' });
  before?.focus?.({ preventScroll: true });
}

box.addEventListener('click', (event) => {
  const what = event.target.dataset.tour;
  if (what === 'next') at === steps.length - 1 ? close() : go(at + 1);
  if (what === 'back') go(at - 1);
  if (what === 'close') close();
});
document.addEventListener('keydown', (event) => {
  if (!box.matches(':popover-open')) return;
  if (event.key === 'Escape') close();
  if (event.key === 'ArrowRight' && at < steps.length - 1) go(at + 1);
  if (event.key === 'ArrowLeft' && at) go(at - 1);
});
window.addEventListener('resize', () => { if (box.matches(':popover-open')) go(at); });
document.addEventListener('click', (event) => { if (event.target.closest('[data-tour=open]')) open(); });
if (!seen()) setTimeout(open, 600);
