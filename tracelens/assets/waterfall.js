// One trace: minimap, tree and bars, and its critical path as a thin line under
// the bars. Only the rows in sight are drawn, so that ten thousand spans scroll.

import { Painter, TableTwin, Tooltip, component, element, fit, hotkeys, meaning, panelHead, shares, theme } from './surface.js';
import * as rows from './waterfall-rows.js';
import { duration, layerSuffix, linearTicks, roundDuration } from './units.js';

const ROW = 24;
const RULER = 24;
const MINIMAP = 44;
const BAR = 11;
const LEAST_VIEW = 1e-4; // of the trace: no closer than that
const MOST_HIGH = 640; // pixels of rows before they scroll
const LABEL = 64; // room right of the last bar for its duration

class Waterfall {
  constructor(root) {
    this.root = root;
    this.head = element('div');
    this.shares = element('div');
    this.minimap = element('canvas', { class: 'minimap', 'aria-hidden': 'true' });
    this.canvas = element('canvas', { role: 'img' });
    this.space = element('div', { class: 'space' });
    const pane = element('div', { class: 'pane' }, [this.canvas]);
    this.scroll = element('div', { class: 'scroll', tabindex: '0' }, [pane, this.space]);
    root.append(this.shares, this.head, this.minimap, this.scroll);
    this.tooltip = new Tooltip(root);
    this.twin = new TableTwin(root);
    this.folded = new Set();
    this.view = [0, 1];
    this.wide = 160; // pixels; measured once a drawing, for asking makes a browser lay the page out
    this.hovered = -1;
    this.painter = new Painter(root, () => this.draw());
    this.scroll.addEventListener('scroll', () => this.painter.now(), { passive: true });
    this.scroll.addEventListener('pointermove', (event) => this.hover(event));
    this.scroll.addEventListener('pointerleave', () => this.leave());
    this.scroll.addEventListener('click', (event) => this.click(event));
    this.minimap.addEventListener('pointerdown', (event) => this.grip(event));
    this.minimap.addEventListener('pointermove', (event) => this.stretch(event));
    this.minimap.addEventListener('pointerup', () => this.let());
    this.minimap.addEventListener('dblclick', () => this.look([0, 1]));
    this.stop = hotkeys((key) => this.key(key));
  }

  update(data, emit) {
    if (this.data?.trace !== data.trace) {
      this.folded.clear();
      this.view = [0, 1];
      this.scroll.scrollTop = 0;
      this.chosen = -1;
    }
    this.data = data;
    this.emit = emit;
    this.only = data.only;
    const moved = data.chosen >= 0 && data.chosen !== this.chosen;
    if (moved) this.chosen = data.chosen;
    this.made = rows.index(data.spans, data.sections);
    this.arrange();
    this.controls();
    this.shares.replaceChildren(...[data.shares, data.layers].filter((parts) => parts.length).map((parts) => shares(parts)));
    this.canvas.setAttribute('aria-label', data.label);
    const heads = ['span', 'starts at', 'duration', 'on the path', 'marks'];
    this.twin.update(heads, () => this.rows.map((row) => rows.line(data.spans, data.start, row)), data.terms);
    if (moved) this.reveal(); // who has scrolled on stays there
    this.painter.ask();
  }

  arrange() {
    this.rows = rows.visible(this.made, this.folded, this.only);
    const high = this.rows.length * ROW;
    this.space.style.height = `${high + RULER}px`;
    this.scroll.style.height = `${Math.min(MOST_HIGH, high) + RULER}px`;
  }

  controls() {
    const toggle = (text, pressed, onclick, title) =>
      element('button', { text, type: 'button', class: 'small', 'aria-pressed': String(pressed), onclick, title });
    this.head.replaceChildren(
      panelHead('Timeline', [
        element('span', { class: 'legend path', text: 'critical path', title: meaning(this.data.terms, 'critical path') }),
        toggle('critical only', this.only, () => this.toggleOnly(), 'p'),
        this.data.proxies === null ? null : toggle('fold proxies', this.data.proxies, () => this.emit.trigger('proxies', !this.data.proxies), 'one row for the spans that carried one request'),
        toggle('fold all', this.folded.size > 0, () => this.foldAll(!this.folded.size), '[ folds, ] unfolds'),
      ]),
    );
  }

  // Geometry. Times are nanoseconds from the trace's start.

  get tree() { return Math.round(Math.min(420, this.wide * (this.wide < 600 ? 0.42 : 0.36))); }
  get bars() { return this.wide - this.tree - LABEL; }
  get span() { return this.data.end - this.data.start; }

  x(nano) {
    const share = (nano - this.data.start) / this.span;
    return this.tree + ((share - this.view[0]) / (this.view[1] - this.view[0])) * this.bars;
  }

  // Drawing.

  draw() {
    const look = theme(this.root);
    this.wide = Math.max(160, this.root.clientWidth);
    const high = this.scroll.clientHeight;
    const pen = fit(this.canvas, this.wide, high);
    const top = this.scroll.scrollTop;
    const [first, last] = rows.inSight(this.rows.length, top, high, ROW);
    pen.font = `13px ${look.font}`;
    this.grid(pen, look, high);
    pen.save();
    pen.beginPath();
    pen.rect(0, RULER, this.wide, high - RULER);
    pen.clip();
    for (let at = first; at < last; at += 1) this.row(pen, look, this.rows[at], RULER + at * ROW - top);
    pen.restore();
    this.map(look);
    this.root.dataset.inSight = last - first;
    return this.rows.length;
  }

  grid(pen, look, high) {
    const [low, end] = this.view.map((share) => this.data.start + share * this.span);
    const ticks = linearTicks(low - this.data.start, end - this.data.start, Math.max(2, this.bars / 150));
    pen.textAlign = 'left';
    pen.font = `12px ${look.font}`;
    for (const tick of ticks) {
      const x = Math.round(this.x(this.data.start + tick));
      pen.fillStyle = look.line;
      pen.fillRect(x, 0, 1, high);
      pen.fillStyle = look.muted;
      if (x < this.wide - 44) pen.fillText(roundDuration(tick), x + 5, RULER / 2);
    }
    pen.fillStyle = look.line;
    pen.fillRect(0, RULER - 1, this.wide, 1);
    pen.font = `13px ${look.font}`;
  }

  row(pen, look, row, y) {
    if (row === this.chosen || row === this.hovered) {
      pen.fillStyle = look.raised;
      pen.fillRect(0, y, this.wide, ROW);
    }
    if (row === this.chosen) {
      pen.fillStyle = look.accent;
      pen.fillRect(0, y, 2, ROW);
    }
    this.name(pen, look, row, y + ROW / 2);
    this.bar(pen, look, row, y);
  }

  indent(row) {
    const step = this.wide < 600 ? 8 : 14;
    return 18 + Math.min(this.data.spans.depth[row] * step, this.tree * 0.5);
  }

  name(pen, look, row, middle) {
    const { service, operation, layer, marks, error } = this.data.spans;
    const left = this.indent(row);
    pen.save();
    pen.beginPath();
    pen.rect(0, middle - ROW / 2, this.tree - 8, ROW);
    pen.clip();
    pen.textAlign = 'left';
    if (this.made.children[row]) this.arrow(pen, look, left - 10, middle, this.folded.has(row));
    pen.font = `600 13px ${look.font}`;
    pen.fillStyle = error[row] ? look.error : look.text;
    pen.fillText(service[row], left, middle);
    const after = left + pen.measureText(service[row]).width + 6;
    pen.font = `13px ${look.font}`;
    pen.fillStyle = look.text;
    const hidden = this.folded.has(row) ? `  +${this.made.end[row] - row - 1}` : '';
    const marked = marks[row].length ? '  ◦' : '';
    pen.fillText(operation[row], after, middle);
    pen.fillStyle = look.muted;
    const quiet = `${layerSuffix(layer[row])}${hidden}${marked}`;
    pen.fillText(quiet, after + pen.measureText(operation[row]).width, middle);
    pen.restore();
  }

  arrow(pen, look, x, middle, closed) {
    pen.fillStyle = look.muted;
    pen.beginPath();
    if (closed) [[-2, -4], [3, 0], [-2, 4]].forEach(([right, down]) => pen.lineTo(x + right, middle + down));
    else [[-4, -2], [4, -2], [0, 3]].forEach(([right, down]) => pen.lineTo(x + right, middle + down));
    pen.fill();
  }

  bar(pen, look, row, y) {
    const { start, end, service, error } = this.data.spans;
    const right = this.tree + this.bars;
    const from = Math.max(this.tree, Math.min(right, this.x(start[row])));
    const to = Math.max(from + 1.5, Math.min(right, this.x(end[row])));
    const top = y + 4;
    if (this.x(end[row]) >= this.tree && this.x(start[row]) <= right) {
      pen.globalAlpha = look.dark ? 0.75 : 0.6;
      pen.fillStyle = this.data.colors[service[row]] ?? look.muted;
      pen.beginPath();
      pen.roundRect(from, top, to - from, BAR, 2);
      pen.fill();
      pen.globalAlpha = 1;
    }
    pen.fillStyle = look.text;
    for (const [begin, stop] of this.made.path[row]) {
      const left = Math.max(this.tree, this.x(begin));
      const width = Math.min(right, this.x(stop)) - left;
      if (width > -0.5) pen.fillRect(left, top + BAR + 1, Math.max(1, width), 2.5);
    }
    pen.textAlign = 'left';
    pen.font = `12px ${look.font}`;
    pen.fillStyle = error[row] ? look.error : look.muted;
    const text = `${error[row] ? '⚠ ' : ''}${duration(end[row] - start[row])}`;
    if (to >= this.tree) pen.fillText(text, to + 6, y + ROW / 2 - 2);
  }

  map(look) {
    const shown = [this.data, this.wide, window.devicePixelRatio, ...this.view, look.background, look.raised, look.text];
    if (this.mapped?.every((one, at) => one === shown[at])) return; // it shows all spans, and a scroll changes none
    this.mapped = shown;
    const pen = fit(this.minimap, this.wide, MINIMAP);
    const { start, end, service } = this.data.spans;
    const { tree, bars, span } = this;
    const x = (nano) => tree + ((nano - this.data.start) / span) * bars;
    pen.fillStyle = look.raised;
    pen.fillRect(this.tree, 0, this.bars, MINIMAP);
    const thick = Math.max(1, Math.min(3, (MINIMAP - 8) / start.length - 0.5));
    pen.globalAlpha = 0.8;
    for (let row = 0; row < start.length; row += 1) {
      pen.fillStyle = this.data.colors[service[row]] ?? look.muted;
      pen.fillRect(x(start[row]), 3 + (row / start.length) * (MINIMAP - 9), Math.max(1, x(end[row]) - x(start[row])), thick);
    }
    pen.globalAlpha = 1;
    pen.fillStyle = look.text;
    this.data.sections.start.forEach((begin, at) => {
      pen.fillRect(x(begin), MINIMAP - 3, Math.max(0.5, x(this.data.sections.end[at]) - x(begin)), 2);
    });
    const [left, right] = this.view.map((share) => this.tree + share * this.bars);
    pen.globalAlpha = 0.6;
    pen.fillStyle = look.background;
    pen.fillRect(this.tree, 0, left - this.tree, MINIMAP);
    pen.fillRect(right, 0, this.tree + this.bars - right, MINIMAP);
    pen.globalAlpha = 1;
    pen.fillStyle = look.muted;
    pen.font = `12px ${look.font}`;
    pen.textAlign = 'left';
    if (this.wide >= 600) pen.fillText('drag to zoom, double click for all', 2, MINIMAP / 2);
  }

  // Minimap.

  shareAt(event) {
    const bounds = this.minimap.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - bounds.left - this.tree) / this.bars));
  }

  grip(event) {
    this.minimap.setPointerCapture(event.pointerId);
    this.held = this.shareAt(event);
  }

  stretch(event) {
    if (this.held === undefined) return;
    const at = this.shareAt(event);
    if (Math.abs(at - this.held) > Math.max(LEAST_VIEW, 3 / this.bars)) this.look([Math.min(at, this.held), Math.max(at, this.held)]);
  }

  let() {
    this.held = undefined;
  }

  look(view) {
    this.view = view;
    this.painter.ask();
  }

  // Rows.

  rowAt(event) {
    const bounds = this.scroll.getBoundingClientRect();
    const y = event.clientY - bounds.top - RULER;
    const row = y < 0 ? undefined : this.rows[Math.floor((y + this.scroll.scrollTop) / ROW)];
    return { row: row ?? -1, x: event.clientX - bounds.left };
  }

  hover(event) {
    const { row } = this.rowAt(event);
    if (row !== this.hovered) {
      this.hovered = row;
      this.painter.ask();
    }
    if (row < 0) this.tooltip.hide();
    else this.tooltip.show(event, rows.describe(this.data.spans, this.data.start, this.span, row));
  }

  leave() {
    this.hovered = -1;
    this.tooltip.hide();
    this.painter.ask();
  }

  click(event) {
    const { row, x } = this.rowAt(event);
    if (row < 0) return;
    if (this.made.children[row] && x < this.indent(row) - 2) this.fold(row, !this.folded.has(row));
    else this.choose(row);
  }

  choose(row) {
    this.chosen = row;
    this.emit.trigger('span', this.data.spans.id[row]);
    this.painter.ask();
  }

  fold(row, closed) {
    if (closed && this.made.children[row]) this.folded.add(row);
    else this.folded.delete(row);
    this.changed();
  }

  foldAll(closed) {
    this.folded.clear();
    if (closed) rows.foldable(this.made, this.data.spans.depth, this.rows).forEach((row) => this.folded.add(row));
    this.changed();
  }

  toggleOnly() {
    this.only = !this.only;
    this.emit.trigger('only', this.only);
    this.changed();
  }

  changed() {
    this.arrange();
    this.controls();
    this.painter.ask();
  }

  /** Scroll so far that the chosen row is in sight. */
  reveal() {
    const at = this.rows.indexOf(this.chosen);
    if (at < 0) return;
    this.scroll.scrollTop = rows.reveal(at, this.scroll.scrollTop, this.scroll.clientHeight - RULER, ROW);
  }

  step(by) {
    this.chosen = rows.step(this.rows, this.chosen, by);
    this.root.dataset.current = this.data.spans.id[this.chosen];
    this.reveal();
    this.painter.ask();
  }

  key(key) {
    const [what, how] = rows.meaning(key) ?? [];
    if (what === 'step') this.step(how);
    else if (what === 'choose' && this.chosen >= 0) this.choose(this.chosen);
    else if (what === 'bracket') this.bracket(how);
    else if (what === 'fold') this.fold(Math.max(0, this.chosen), how);
    else if (what === 'only') this.toggleOnly();
    else if (what === 'whole') this.look([0, 1]);
    else return false;
    return true;
  }

  /** [ folds what is below the chosen span, or everything; ] unfolds it. */
  bracket(closed) {
    if (this.chosen > 0 && this.made.children[this.chosen]) this.fold(this.chosen, closed);
    else this.foldAll(closed);
  }

  destroy() {
    this.stop();
    this.painter.destroy();
  }
}

export default component(Waterfall);
