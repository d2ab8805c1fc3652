// What the components stand on: their life, elements, theme, canvas size,
// tooltip and keys. Text is only ever set as text: span names are hostile.

const living = new Map(); // what is drawn, by its root

/**
 * Wrap a class with `update(data, emit)` and `destroy()` as a Streamlit component.
 *
 * It lives as long as its root is on the page. What Streamlit calls at the end is called, too, for data that newer
 * data overtook, before or after those are drawn: whoever ended then would leave a dead drawing below a second one.
 */
export function component(Kind) {
  return ({ data, parentElement, setStateValue, setTriggerValue }) => {
    const root = parentElement.querySelector('.tracelens');
    if (!living.has(root)) living.set(root, new Kind(root));
    living.get(root).update(data, { state: setStateValue, trigger: setTriggerValue });
    bury();
    return bury;
  };
}

/** End what is no longer on the page. */
function bury() {
  for (const [root, one] of living) {
    if (root.isConnected) continue;
    living.delete(root);
    one.destroy();
  }
}

/** Make an element. `text` becomes text, `on…` a listener, `data` its dataset, all else an attribute. */
export function element(tag, { text, data, ...rest } = {}, children = []) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(data ?? {})) made.dataset[name] = value;
  assign(made, rest);
  made.append(...children.filter(Boolean));
  return made;
}

/** The same for SVG. */
export function svg(tag, attributes = {}, children = []) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  assign(made, attributes);
  made.append(...children.filter(Boolean));
  return made;
}

function assign(made, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? '' : value);
  }
}

const PERCENTILES = { p50: '#7b8494', p90: '#E69F00', p99: '#D55E00' };

/** The colours in force, read from Streamlit's variables. */
export function theme(root) {
  const style = getComputedStyle(root);
  const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  const background = read('--st-background-color', '#ffffff');
  const dark = ink(background) === '#ffffff';
  root.dataset.theme = dark ? 'dark' : 'light';
  return {
    dark,
    background,
    text: read('--st-text-color', '#1b1f27'),
    raised: read('--st-secondary-background-color', '#f5f7fa'),
    line: read('--st-border-color', '#e3e7ee'),
    accent: read('--st-primary-color', '#2563d8'),
    muted: dark ? '#8f9bad' : '#667085',
    error: dark ? '#ff7b72' : '#b42318',
    font: read('--st-font', 'sans-serif'),
    ...PERCENTILES,
  };
}

/** Black or white, whichever is read better on a colour: by WCAG's contrast at least 4.5 to 1. */
export function ink(color) {
  const linear = channels(color).map((part) => (part <= 10.31 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return (light + 0.05) ** 2 > 1.05 * 0.05 ? '#000000' : '#ffffff';
}

/** Red, green and blue of a colour `#rrggbb` or `rgb(…)`, 0 to 255. */
function channels(color) {
  if (color.startsWith('#')) return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return color.match(/\d+(\.\d+)?/g).map(Number);
}

/** Give a canvas its size in CSS pixels, sharp on any screen; return its context. */
export function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.textBaseline = 'middle';
  return context;
}

/** Draws when something changed, at most once a frame, and says so in data-ready and data-draw-ms. */
export class Painter {
  constructor(root, draw) {
    this.root = root;
    this.draw = draw;
    this.frame = 0;
    this.stamp = 0;
    this.observer = new ResizeObserver(() => this.ask());
    this.observer.observe(root);
    // Streamlit changes the theme without a new call: its variables come with a class or a style of the page.
    this.themes = new MutationObserver(() => this.ask());
    for (const node of [document.documentElement, document.body, document.head]) {
      this.themes.observe(node, { attributes: true, childList: node === document.head });
    }
  }

  ask() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.now());
  }

  now() {
    const begin = performance.now();
    const rows = this.draw();
    this.stamp += 1;
    ready(this.root, rows, performance.now() - begin, this.stamp);
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    this.observer.disconnect();
    this.themes.disconnect();
  }
}

/** Say that what was asked for stands on the screen: how many rows, how long it took. */
export function ready(root, rows, milliseconds, stamp = 1) {
  root.dataset.rows = rows;
  root.dataset.drawMs = milliseconds.toFixed(2);
  root.dataset.ready = stamp;
}

/** Where a box so wide stands beside the pointer: right of it, on the left where there is no room, never outside. */
export function beside({ clientX, clientY }, wide, bounds) {
  const left = clientX - bounds.left + 14;
  const flip = left + wide > bounds.width;
  return { left: flip ? Math.max(0, left - wide - 28) : left, top: clientY - bounds.top + 16 };
}

/** The row that a key leads to; the current one when the focus is elsewhere, null for another key. */
export function neighbour(key, current, inside) {
  const by = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
  if (!Object.hasOwn(by, key)) return null;
  return inside ? current + by[key] : current;
}

/** Lines of text beside the pointer. */
export class Tooltip {
  constructor(root) {
    this.root = root;
    this.box = element('div', { class: 'tooltip', role: 'presentation' });
    root.append(this.box);
  }

  show(event, lines) {
    this.box.replaceChildren(...lines.map((text) => element('div', { text })));
    this.box.style.display = 'block';
    const bounds = this.root.getBoundingClientRect();
    const { left, top } = beside(event, this.box.offsetWidth, bounds);
    this.box.style.left = `${left}px`;
    this.box.style.top = `${top}px`;
  }

  hide() {
    this.box.style.display = 'none';
  }
}

/** Listen for keys wherever the focus is, but in a field somebody types in. Returns the way to stop. */
export function hotkeys(handle) {
  const listener = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.composedPath()[0];
    const typing = target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
    const menu = document.querySelector('[role="listbox"], [role="dialog"]');
    if (!typing && !menu && handle(event.key, event)) event.preventDefault();
  };
  document.addEventListener('keydown', listener);
  return () => document.removeEventListener('keydown', listener);
}

/** The head of a panel: what it is, and on the right what to know about it. help: what its words mean. */
export function panelHead(title, note, help) {
  return element('div', { class: 'panel-head' }, [
    element('h2', { text: title, title: help }),
    element('span', { class: 'note' }, Array.isArray(note) ? note : [note ?? '']),
  ]);
}

/** Parts of a whole side by side, each as wide as its share and as its colour; too narrow ones say it on the pointer. */
export function shares(parts, label = null) {
  return element('div', { class: 'shares', role: 'list', 'aria-label': label }, parts.map(({ text, share, color }) => {
    const style = `flex:${share} 1 0;background:${color};color:${ink(color)}`;
    return element('span', { title: text, role: 'listitem', style }, [element('b', { text })]);
  }));
}

/** What a word means, of terms that Python sent; nothing for another word. */
export function meaning(terms, word) {
  return terms && Object.hasOwn(terms, word) ? terms[word] : undefined;
}

/** What a canvas shows, as a table that is made when it is opened. */
export class TableTwin {
  constructor(root) {
    this.body = element('div', { class: 'twin-scroll', tabindex: '0' });
    this.details = element('details', { class: 'twin', ontoggle: () => this.fill() }, [
      element('summary', { text: 'as a table' }),
      this.body,
    ]);
    root.append(this.details);
  }

  /** heads: column names. rows: a function that returns arrays of text, asked only when open. terms: what heads mean. */
  update(heads, rows, terms = {}) {
    this.heads = heads;
    this.terms = terms;
    this.rows = rows;
    this.fill();
  }

  fill() {
    if (!this.details.open || !this.rows) return;
    const head = element('tr', {}, this.heads.map((text) => element('th', { text, scope: 'col', title: meaning(this.terms, text) })));
    const body = this.rows().map((row) => element('tr', {}, row.map((text) => element('td', { text }))));
    this.body.replaceChildren(element('table', {}, [element('thead', {}, [head]), element('tbody', {}, body)]));
  }
}
