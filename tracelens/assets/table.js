// A dense, quiet table: rows that open, numbers on the right, small drawings in
// the cells. One row is in the tab order; arrows or j and k move it, Enter opens.
// Of many rows the first are drawn, the others when they come near, when somebody
// looks for a word on the page, and on paper.

import { component, element, hotkeys, neighbour, panelHead, ready, shares } from './surface.js';
import { sparkline } from './sparkline.js';

const CELLS = {
  text: (value) => element('span', { text: value, title: value }),
  number: (value) => element('span', { text: value }),
  value: (value) => element('span', { text: value }),
  code: (value) => element('code', { text: value }),
  name: ({ color, strong, light, depth, help }) =>
    element('span', { class: 'name', title: help ?? `${strong} ${light}`, style: depth ? `padding-left:${depth * 16}px` : null }, [
      color && element('i', { class: 'swatch', style: `background:${color}` }),
      element('strong', { text: strong }),
      element('span', { text: light }),
    ]),
  toned: ({ text, tone, title }) => element('span', { text, title, class: `tone-${tone}` }),
  dots: (marks) => dots(marks),
  change: (value) => change(value),
  spark: ({ values, kind }) => sparkline(values, kind, { width: 110, height: 24 }),
  pair: ({ selected, rest, title }) =>
    element('span', { class: 'pair', title }, [bar('selected', selected), bar('rest', rest)]),
  share: ({ share, tone }) => element('span', { class: 'share' }, [bar(tone ?? 'accent', share)]),
};

const STEP = 100; // rows: a thousand take a browser 160 ms when their page is left
const NEAR = '1500px'; // below what is seen
const RIGHT = new Set(['number', 'toned', 'change']);

function bar(kind, share) {
  return element('i', { class: `bar bar-${kind}`, style: `width:${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%` });
}

function dots({ p50, p90, p99 }) {
  const place = (at) => `left:${(100 * at).toFixed(2)}%`;
  return element('span', { class: 'dots' }, [
    element('i', { class: 'track', style: `${place(p50)};right:${(100 * (1 - p99)).toFixed(2)}%` }),
    element('i', { class: 'mark-p50', style: place(p50) }),
    element('i', { class: 'mark-p90', style: place(p90) }),
    element('i', { class: 'mark-p99', style: place(p99) }),
  ]);
}

/** A change in words, and where it and its interval lie: places from 0 to 1, no change in the middle. */
function change({ text, tone, title, low, at, high }) {
  const percent = (place) => `${(100 * Math.min(1, Math.max(0, place))).toFixed(2)}%`;
  const drawn = at === null ? [] : [
    element('i', { class: 'zero' }),
    low !== null && element('i', { class: 'range', style: `left:${percent(low)};width:${percent(high - low)}` }),
    element('i', { class: 'point', style: `left:${percent(at)}` }),
  ];
  return element('span', { class: `change tone-${tone}`, title }, [element('b', { text }), element('span', { class: 'interval' }, drawn)]);
}

class Table {
  constructor(root) {
    this.root = root;
    this.current = 0;
    this.rows = [];
    this.stop = () => {};
    const near = (seen) => seen.some((one) => one.isIntersecting) && this.extend(this.rows.length + STEP);
    this.end = new IntersectionObserver(near, { rootMargin: NEAR, scrollMargin: NEAR });
    this.sought = (event) => (event.ctrlKey || event.metaKey) && event.key === 'f' && this.extend();
    this.printed = () => this.extend();
    document.addEventListener('keydown', this.sought);
    window.addEventListener('beforeprint', this.printed);
  }

  update(data, emit) {
    const begin = performance.now();
    const focused = this.root.getRootNode().activeElement?.closest?.('tbody tr') ?? null;
    this.data = data;
    this.emit = emit;
    this.stop();
    this.stop = data.hotkeys ? hotkeys((key) => this.key(key)) : () => {};
    this.current = Math.min(this.current, Math.max(0, data.rows.length - 1));
    const drawn = Math.max(STEP, this.rows.length); // what was scrolled to stays
    this.rows = [];
    this.body = element('tbody');
    const table = element('table', { class: `grid ${data.dense ? 'dense' : ''} ${data.wide ? 'wide' : ''} ${data.headless ? 'headless' : ''}`, 'aria-label': data.label, 'aria-rowcount': data.rows.length + !data.headless }, [
      data.headless ? null : element('thead', {}, [element('tr', {}, data.columns.map((column) => this.head(column)))]),
      this.body,
    ]);
    this.extend(drawn);
    this.root.replaceChildren(
      ...(data.title ? [panelHead(data.title, data.note, data.help)] : []),
      ...(data.stack.length ? [shares(data.stack)] : []),
      ...(data.rows.length ? [element('div', { class: 'grid-scroll' }, [table])] : []),
      ...(data.rows.length ? [] : [element('p', { class: 'nothing', text: data.nothing ?? 'Nothing to show.' })]),
      ...(data.foot ? [element('p', { class: 'foot', text: data.foot })] : []),
    );
    if (focused) this.rows[this.current]?.focus();
    ready(this.root, data.rows.length, performance.now() - begin);
  }

  /** Draw rows up to one, or all. */
  extend(to = this.data.rows.length) {
    const first = this.rows.length;
    const added = this.data.rows.slice(first, to).map((row, at) => this.row(row, first + at));
    this.rows.push(...added);
    this.body.append(...added);
    this.end.disconnect();
    if (this.rows.length < this.data.rows.length) this.end.observe(this.rows.at(-1));
  }

  head({ label, kind, minor, width, help }) {
    const classes = `${RIGHT.has(kind) ? 'right' : ''} ${minor ? 'minor' : ''} kind-${kind}`;
    const style = width ? `width:${width}` : null;
    if (!label) return element('td', { class: classes, style }); // a heading that says nothing is none
    return element('th', { text: label, title: help, scope: 'col', class: classes, style });
  }

  row(row, at) {
    const cells = this.data.columns.map((column, place) => this.cell(column, row.cells[place], row));
    const opens = this.data.opens;
    return element(
      'tr',
      {
        class: `${opens ? 'opens' : ''} ${row.chosen ? 'chosen' : ''} ${row.quiet ? 'quiet' : ''}`,
        tabindex: opens ? (at === this.current ? '0' : '-1') : null,
        'aria-selected': row.chosen ? 'true' : null,
        data: { id: row.id ?? at },
        onclick: opens ? () => this.open(at) : null,
        onfocus: opens ? () => this.move(at, false) : null,
        onkeydown: opens && !this.data.hotkeys ? (event) => this.key(event.key) && event.preventDefault() : null,
      },
      cells,
    );
  }

  cell({ kind, minor, strong }, value, row) {
    const classes = `${RIGHT.has(kind) ? 'right' : ''} ${minor ? 'minor' : ''} ${strong ? 'strong' : ''} kind-${kind}`;
    if (kind === 'actions') {
      return element('td', { class: classes }, value.map(({ event, text, label }) => this.action(event, text, label, row)));
    }
    return element('td', { class: classes }, value === null ? [] : [CELLS[kind](value)]);
  }

  action(event, text, label, row) {
    const press = (click) => {
      click.stopPropagation();
      this.emit.trigger('act', { event, id: row.id });
    };
    return element('button', { text, type: 'button', class: 'small', 'aria-label': label, title: label, onclick: press });
  }

  open(at) {
    this.current = at;
    this.emit.trigger('open', this.data.rows[at].id);
  }

  move(at, focus = true) {
    if (at < 0 || at >= this.data.rows.length) return;
    if (at >= this.rows.length) this.extend(at + STEP);
    this.rows[this.current]?.setAttribute('tabindex', '-1');
    this.current = at;
    this.rows[at].setAttribute('tabindex', '0');
    if (focus) this.rows[at].focus();
  }

  key(key) {
    if (!this.data.opens || !this.rows.length) return false;
    const inside = this.rows.includes(this.root.getRootNode().activeElement);
    const next = neighbour(key, this.current, inside);
    if (next !== null) this.move(next);
    else if (key === 'Enter' && inside) this.open(this.current);
    else if (key === 'Escape' && inside) this.rows[this.current].blur();
    else return false;
    return true;
  }

  destroy() {
    this.stop();
    this.end.disconnect();
    document.removeEventListener('keydown', this.sought);
    window.removeEventListener('beforeprint', this.printed);
  }
}

export default component(Table);
