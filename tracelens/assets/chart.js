// A chart of somebody's own: one measure over time, a line a group, and where
// wanted a threshold. Below the canvas each group has a row with its number for
// the whole window; the pointer or the arrow keys say what a stretch of time has.

import { Painter, TableTwin, Tooltip, component, element, fit, meaning, svg, theme } from './surface.js';
import { above, nearest, runs, written, round } from './chart-lines.js';
import { clock, count, day, linearTicks, timeTicks } from './units.js';

const HEIGHT = 190;
const MARGIN = { left: 62, right: 10, top: 12, bottom: 24 };
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]]; // of lines by `dash`
class Chart {
  constructor(root) {
    this.root = root;
    this.head = element('div', { class: 'panel-head' });
    this.canvas = element('canvas', { tabindex: '0', role: 'img' });
    this.legend = element('div', { class: 'grid-scroll' });
    root.append(this.head, element('div', { class: 'plot' }, [this.canvas]), this.legend);
    this.tooltip = new Tooltip(root);
    this.twin = new TableTwin(root);
    this.at = null;
    this.painter = new Painter(root, () => this.draw());
    this.canvas.addEventListener('pointermove', (event) => this.hover(event));
    this.canvas.addEventListener('pointerleave', () => this.look(null));
    this.canvas.addEventListener('blur', () => this.look(null));
    this.canvas.addEventListener('keydown', (event) => this.key(event));
  }

  update(data, emit) {
    this.data = data;
    this.emit = emit;
    this.written = (value) => written(data.unit, value);
    this.high = above(data.lines, data.threshold);
    this.head.replaceChildren(
      element('h2', { text: data.title }),
      element('span', { class: 'note' }, [
        ...(data.alert ? [element('span', { text: data.alert, class: `alert tone-${data.tone}` })] : []),
        ...data.actions.map(({ event, text, label }) => this.action(event, text, label)),
      ]),
    );
    this.canvas.setAttribute('aria-label', data.label);
    this.legend.replaceChildren(this.groups(data));
    this.twin.update(['from', ...data.lines.map(({ name }) => name)], () => this.stretches(), data.terms);
    this.painter.ask();
  }

  action(event, text, label) {
    const press = () => this.emit.trigger('act', event);
    return element('button', { text, type: 'button', class: 'small', 'aria-label': label, title: label, onclick: press });
  }

  groups({ lines, by, measure, counted, more }) {
    const rows = lines.map((line, at) => element('tr', { onpointerenter: () => this.emphasize(at), onpointerleave: () => this.emphasize(null) }, [
      element('td', { class: 'kind-name' }, [element('span', { class: 'name' }, [this.swatch(line), element('span', { text: line.name, title: line.name })])]),
      element('td', { text: this.written(line.total), class: `right strong ${line.over ? 'tone-bad' : ''}` }),
      element('td', { text: count(line.n), class: 'right muted' }),
    ]));
    const head = [by, measure, counted].map((text, at) => element('th', { text, title: meaning(this.data.terms, text), scope: 'col', class: at ? 'right' : '' }));
    const foot = more ? [element('tr', { class: 'quiet' }, [element('td', { text: more, colspan: '3' })])] : [];
    return element('table', { class: 'grid lines' }, [element('thead', {}, [element('tr', {}, head)]), element('tbody', {}, [...rows, ...foot])]);
  }

  swatch({ color, dash }) {
    const dashes = DASHES[dash % DASHES.length].join(' ');
    const stroke = svg('line', { x1: 0, x2: 20, y1: 4, y2: 4, stroke: color, 'stroke-width': 2.4, 'stroke-dasharray': dashes });
    return svg('svg', { class: 'stroke', width: 20, height: 8, 'aria-hidden': 'true' }, [stroke]);
  }

  stretches() {
    const { lines, points } = this.data;
    return Array.from({ length: points }, (_, at) => [this.moment(at), ...lines.map(({ values }) => this.written(values[at]))]);
  }

  moment(at) {
    const milliseconds = this.data.start_ms + at * this.data.width_ms;
    const time = clock(milliseconds, this.data.width_ms < 60_000);
    return this.data.points * this.data.width_ms > 86_400_000 ? `${day(milliseconds)} ${time}` : time;
  }

  get wide() { return Math.max(120, this.root.clientWidth); }
  get plotWide() { return this.wide - MARGIN.left - MARGIN.right; }
  get plotHigh() { return HEIGHT - MARGIN.top - MARGIN.bottom; }

  x(at) { return MARGIN.left + ((at + 0.5) / this.data.points) * this.plotWide; }
  y(value) { return MARGIN.top + (1 - value / this.high) * this.plotHigh; }

  draw() {
    const look = theme(this.root);
    const pen = fit(this.canvas, this.wide, HEIGHT);
    pen.font = `12px ${look.font}`;
    this.axes(pen, look);
    this.data.lines.forEach((line, at) => this.line(pen, line, at));
    this.threshold(pen, look);
    if (this.at !== null) this.cross(pen, look);
    return this.data.lines.length;
  }

  axes(pen, look) {
    pen.textAlign = 'right';
    for (const value of linearTicks(0, this.high, 4)) {
      const y = this.y(value);
      pen.globalAlpha = value ? 0.6 : 1;
      pen.fillStyle = look.line;
      pen.fillRect(MARGIN.left, Math.round(y), this.plotWide, 1);
      pen.globalAlpha = 1;
      pen.fillStyle = look.muted;
      pen.fillText(round(this.data.unit, value), MARGIN.left - 8, y);
    }
    const { start_ms: start, width_ms: width, points } = this.data;
    const { ticks, seconds, days } = timeTicks(start, start + points * width, Math.max(2, this.plotWide / 110));
    pen.textAlign = 'center';
    for (const at of ticks) {
      const x = MARGIN.left + ((at - start) / width / points) * this.plotWide;
      if (x < MARGIN.left + 14 || x > this.wide - MARGIN.right - 14) continue;
      pen.fillText(days ? day(at) : clock(at, seconds), x, HEIGHT - MARGIN.bottom + 14);
    }
  }

  line(pen, { values, color, dash }, at) {
    const other = this.loud !== null && this.loud !== undefined && this.loud !== at;
    pen.globalAlpha = other ? 0.2 : 1;
    pen.strokeStyle = pen.fillStyle = color;
    pen.lineWidth = this.loud === at ? 2.6 : 1.8;
    pen.lineJoin = 'round';
    pen.setLineDash(DASHES[dash % DASHES.length]);
    for (const [begin, end] of runs(values)) {
      pen.beginPath();
      for (let place = begin; place < end; place += 1) pen.lineTo(this.x(place), this.y(values[place]));
      pen.stroke();
      if (end - begin > 1) continue;
      pen.beginPath(); // alone, it is no line
      pen.arc(this.x(begin), this.y(values[begin]), 2.2, 0, 7);
      pen.fill();
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  threshold(pen, look) {
    const { threshold, limit } = this.data;
    if (threshold === null) return;
    const outside = threshold > this.high;
    const y = outside ? MARGIN.top : this.y(threshold);
    pen.strokeStyle = pen.fillStyle = look.error;
    if (!outside) {
      pen.setLineDash([5, 4]);
      pen.lineWidth = 1.4;
      pen.beginPath();
      pen.moveTo(MARGIN.left, y);
      pen.lineTo(this.wide - MARGIN.right, y);
      pen.stroke();
      pen.setLineDash([]);
    }
    pen.textAlign = 'right';
    pen.fillText(outside ? `${limit} ↑` : limit, this.wide - MARGIN.right - 2, y - 7 < 6 ? y + 8 : y - 7);
  }

  cross(pen, look) {
    pen.fillStyle = look.muted;
    pen.globalAlpha = 0.5;
    pen.fillRect(Math.round(this.x(this.at)), MARGIN.top, 1, this.plotHigh);
    pen.globalAlpha = 1;
    for (const { values, color } of this.data.lines) {
      if (values[this.at] === null) continue;
      pen.beginPath();
      pen.fillStyle = color;
      pen.arc(this.x(this.at), this.y(values[this.at]), 3, 0, 7);
      pen.fill();
    }
  }

  emphasize(at) {
    this.loud = at;
    this.painter.ask();
  }

  /** Say what a stretch of time has; null: nothing. */
  look(at, event) {
    this.at = at;
    this.painter.ask();
    if (at === null) {
      this.tooltip.hide();
      return;
    }
    const bounds = this.canvas.getBoundingClientRect();
    const place = event ?? { clientX: bounds.left + this.x(at), clientY: bounds.top + MARGIN.top };
    const known = this.data.lines.filter(({ values }) => values[at] !== null);
    const sorted = known.sort((one, other) => other.values[at] - one.values[at]);
    const said = sorted.map(({ name, values, counts }) => `${name || this.data.measure}: ${this.written(values[at])} (n ${count(counts[at])})`);
    this.tooltip.show(place, [this.moment(at), ...(said.length ? said : ['no call'])]);
  }

  hover(event) {
    const { left } = this.canvas.getBoundingClientRect();
    this.look(nearest((event.clientX - left - MARGIN.left) / this.plotWide, this.data.points), event);
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === 'Escape') this.look(null);
    if (!by) return;
    event.preventDefault();
    const last = this.data.points - 1;
    this.look(this.at === null ? (by > 0 ? 0 : last) : Math.max(0, Math.min(last, this.at + by)));
  }

  destroy() {
    this.painter.destroy();
  }
}

export default component(Chart);
