// Charts say what they show, and are saved as pictures. nls_core/views/chart_text.py writes the texts
// and names of files; Plotly, which Gradio brings, draws.
const NARROW = 800; // pixels: a picture is not narrower than that, also from a phone

async function save(chart) {
  const { meta, ...layout } = chart.layout, light = { paper_bgcolor: '#fff', plot_bgcolor: '#fff' };
  const size = { width: Math.max(chart.clientWidth, NARROW), height: chart._fullLayout.height };
  const link = document.createElement('a');
  link.href = await window.Plotly.toImage({ data: chart.data, layout: { ...layout, ...light } },
    { format: 'png', scale: 2, ...size });
  link.download = `${meta.file}.png`;
  link.click();
}

function tell(chart) {
  const meta = chart.layout?.meta, [first, ...others] = chart.querySelectorAll('.main-svg');
  if (!meta || !first) return;
  first.setAttribute('role', 'img');
  first.setAttribute('aria-label', meta.text);
  for (const other of others) other.setAttribute('aria-hidden', 'true');
  if (chart.querySelector('.nls-png')) return;
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', className: 'nls-png', innerText: 'Save as PNG' });
  button.setAttribute('aria-label', `Save as PNG: ${meta.file}`);
  button.addEventListener('click', () => save(chart));
  chart.append(button);
}

const known = new WeakSet();
function look() {
  for (const chart of document.querySelectorAll('.js-plotly-plot')) {
    if (known.has(chart) || !chart.on) continue;
    known.add(chart);
    chart.on('plotly_afterplot', () => tell(chart));
    tell(chart);
  }
}
new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
look();
