// Charts say what they show, and are saved as pictures. nls_core/views/chart_text.py writes the texts
// and names of files; Plotly, which Gradio brings, draws.
const NARROW = 800; // pixels: a picture is not narrower than that, also from a phone

async function save(chart, format) {
  const { meta, ...layout } = chart.layout, light = { paper_bgcolor: '#fff', plot_bgcolor: '#fff' };
  const size = { width: Math.max(chart.clientWidth, NARROW), height: chart._fullLayout.height };
  const link = document.createElement('a');
  link.href = await window.Plotly.toImage({ data: chart.data, layout: { ...layout, ...light } },
    { format, scale: format === 'png' ? 2 : 1, ...size });
  link.download = `${meta.file}.${format}`;
  link.click();
}

function tell(chart) {
  const meta = chart.layout?.meta, [first, ...others] = chart.querySelectorAll('.main-svg');
  if (!meta || !first) return;
  first.setAttribute('role', 'img');
  first.setAttribute('aria-label', meta.text);
  for (const other of others) other.setAttribute('aria-hidden', 'true');
  if (chart.querySelector('.nls-save')) return;
  const links = document.createElement('div');
  links.className = 'nls-save';
  for (const format of ['png', 'svg']) {
    const button = document.createElement('button'), name = `Save as ${format.toUpperCase()}`;
    Object.assign(button, { type: 'button', innerText: name });
    button.setAttribute('aria-label', `${name}: ${meta.file}`);
    button.addEventListener('click', () => save(chart, format));
    links.append(button);
  }
  chart.append(links);
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
