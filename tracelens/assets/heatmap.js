// Latency heatmap: calls by start and duration on a logarithmic axis, with the
// percentiles over it and one box that selects. A drag, or the arrow keys on the
// focused canvas, move the box; Python hears of it as cells: [first column, end
// column, first row, end row], rows from the lowest latency, ends exclusive.

import { Painter, TableTwin, Tooltip, component, element, fit, hotkeys, meaning, panelHead, theme } from './surface.js';
import * as cells from './heatmap-cells.js';
import { clock, count, day, duration, logTicks, roundDuration, timeTicks } from './units.js';

const HEIGHT = 300;
const MARGIN = { left: 58, right: 8, top: 10, bottom: 26 };
const LINES = [
  { name: 'p50', dash: [1.5, 3], width: 1.5 },
  { name: 'p90', dash: [6, 3], width: 1.6 },
  { name: 'p99', dash: [], width: 1.8 },
];
// From a call that is alone to the busiest cell.
const RAMPS = {
  light: [[222, 233, 247], [164, 192, 228], [95, 138, 196], [44, 88, 152], [14, 45, 102]],
  dark: [[24, 38, 60], [36, 72, 120], [58, 112, 178], [110, 166, 232], [196, 224, 255]],
};
const STEPS = 64;

/** The colour of step 0…STEPS−1 as [red, green, blue]. */
function shade(ramp, step) {
  const at = (step / (STEPS - 1)) * (ramp.length - 1);
  const low = Math.min(Math.floor(at), ramp.length - 2);
  return ramp[low].map((part, channel) => part + (ramp[low + 1][channel] - part) * (at - low));
}

class Heatmap {
  constructor(root) {
    this.root = root;
    this.head = element('div');
    this.canvas = element('canvas', { tabindex: '0', role: 'img' });
    this.plate = document.createElement('canvas'); // one pixel a cell, stretched when drawn
    root.append(this.head, element('div', { class: 'plot' }, [this.canvas]));
    this.tooltip = new Tooltip(root);
    this.twin = new TableTwin(root);
    this.drag = null;
    this.painter = new Painter(root, () => this.draw());
    this.canvas.addEventListener('pointerdown', (event) => this.press(event));
    this.canvas.addEventListener('pointermove', (event) => this.hover(event));
    this.canvas.addEventListener('pointerup', (event) => this.release(event));
    this.canvas.addEventListener('pointercancel', () => this.cancel());
    this.canvas.addEventListener('pointerleave', () => this.tooltip.hide());
    this.canvas.addEventListener('keydown', (event) => this.nudge(event));
    this.stop = hotkeys((key) => this.key(key));
  }

  update(data, emit) {
    this.data = data;
    this.emit = emit;
    this.busiest = Math.max(1, ...data.counts);
    this.box = data.box;
    this.plated = null;
    const legend = LINES.map(({ name }) => element('span', { text: name, title: meaning(data.terms, name), class: `legend kind-${name}` }));
    this.head.replaceChildren(panelHead(data.title, [...legend, 'drag to select']));
    this.canvas.setAttribute('aria-label', data.label);
    this.twin.update(['start', 'calls', 'p50', 'p90', 'p99'], () => this.table(), data.terms);
    this.painter.ask();
  }

  table() {
    const { lines } = this.data;
    return lines.start_ms.map((start, at) => [
      clock(start), count(lines.calls[at]), ...LINES.map(({ name }) => duration(lines[name][at])),
    ]);
  }

  // Geometry: cells to pixels and back.

  get wide() { return Math.max(80, this.root.clientWidth); }
  get plotWide() { return this.wide - MARGIN.left - MARGIN.right; }
  get plotHigh() { return HEIGHT - MARGIN.top - MARGIN.bottom; }

  x(column) { return MARGIN.left + (column / this.data.columns) * this.plotWide; }
  y(row) { return MARGIN.top + (1 - row / this.data.rows) * this.plotHigh; }

  rowOf(nano) { return cells.rowOf(this.data, nano); }
  columnOf(milliseconds) { return cells.columnOf(this.data, milliseconds); }

  cellAt(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const right = (event.clientX - bounds.left - MARGIN.left) / this.plotWide;
    return cells.cellAt(this.data, right, (event.clientY - bounds.top - MARGIN.top) / this.plotHigh);
  }

  // Drawing.

  draw() {
    const look = theme(this.root);
    const pen = fit(this.canvas, this.wide, HEIGHT);
    pen.font = `12px ${look.font}`;
    if (this.plated !== look.dark) this.platesOf(look.dark);
    pen.imageSmoothingEnabled = false;
    this.axes(pen, look);
    pen.drawImage(this.plate, MARGIN.left, MARGIN.top, this.plotWide, this.plotHigh);
    this.marks(pen, look);
    this.lines(pen, look);
    this.selection(pen, look);
    return this.data.calls;
  }

  platesOf(dark) {
    const { columns, rows, counts } = this.data;
    const ramp = RAMPS[dark ? 'dark' : 'light'];
    const image = new ImageData(columns, rows);
    counts.forEach((calls, at) => {
      if (!calls) return;
      const row = rows - 1 - Math.floor(at / columns);
      const step = Math.round((Math.log1p(calls) / Math.log1p(this.busiest)) * (STEPS - 1));
      image.data.set([...shade(ramp, step), 255], (row * columns + (at % columns)) * 4);
    });
    this.plate.width = columns;
    this.plate.height = rows;
    this.plate.getContext('2d').putImageData(image, 0, 0);
    this.plated = dark;
  }

  axes(pen, look) {
    const { low_nano: low, high_nano: high, start_ms: start, end_ms: end } = this.data;
    pen.fillStyle = look.muted;
    pen.textAlign = 'right';
    for (const nano of logTicks(low, high)) {
      const y = this.y(this.rowOf(nano));
      pen.globalAlpha = 0.55;
      pen.fillStyle = look.line;
      pen.fillRect(MARGIN.left, Math.round(y), this.plotWide, 1);
      pen.globalAlpha = 1;
      pen.fillStyle = look.muted;
      pen.fillText(roundDuration(nano), MARGIN.left - 8, y);
    }
    const { ticks, seconds, days } = timeTicks(start, end, Math.max(2, this.plotWide / 110));
    pen.textAlign = 'center';
    for (const at of ticks) {
      const x = this.x(this.columnOf(at));
      if (x < MARGIN.left + 12 || x > this.wide - MARGIN.right - 12) continue;
      pen.fillText(days ? day(at) : clock(at, seconds), x, HEIGHT - MARGIN.bottom + 14);
    }
  }

  lines(pen, look) {
    const { lines } = this.data;
    for (const { name, dash, width } of LINES) {
      pen.beginPath();
      let down = false;
      lines[name].forEach((nano, at) => {
        if (nano === null) {
          down = false;
          return;
        }
        const x = this.x(this.columnOf(lines.start_ms[at] + lines.width_ms / 2));
        const y = this.y(Math.max(0, this.rowOf(nano)));
        if (down) pen.lineTo(x, y);
        else pen.moveTo(x, y);
        down = true;
      });
      // A halo keeps a line readable over dense cells of any colour.
      pen.setLineDash([]);
      pen.strokeStyle = look.background;
      pen.globalAlpha = 0.7;
      pen.lineWidth = width + 2;
      pen.stroke();
      pen.globalAlpha = 1;
      pen.setLineDash(dash);
      pen.strokeStyle = name === 'p50' ? look.text : look[name];
      pen.lineWidth = width;
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  /** Moments at which something happened: a line, and beside its top what it was, where there is room. */
  marks(pen, look) {
    let free = this.wide;
    for (const { at_ms: at, text } of [...this.data.marks].sort((one, other) => other.at_ms - one.at_ms)) {
      const x = Math.round(this.x(this.columnOf(at))) + 0.5;
      pen.strokeStyle = look.text;
      pen.globalAlpha = 0.6;
      pen.lineWidth = 1;
      pen.setLineDash([2, 2]);
      pen.beginPath();
      pen.moveTo(x, MARGIN.top);
      pen.lineTo(x, MARGIN.top + this.plotHigh);
      pen.stroke();
      pen.setLineDash([]);
      pen.globalAlpha = 1;
      const width = pen.measureText(text).width + 10;
      const right = x + width < free;
      if (!right && x - width < MARGIN.left) continue;
      pen.fillStyle = look.background;
      pen.globalAlpha = 0.85;
      pen.fillRect(right ? x + 1 : x - width - 1, MARGIN.top + 1, width, 17);
      pen.globalAlpha = 1;
      pen.fillStyle = look.text;
      pen.textAlign = right ? 'left' : 'right';
      pen.fillText(text, right ? x + 6 : x - 6, MARGIN.top + 10);
      free = Math.min(free, right ? x : x - width);
    }
  }

  /** What happened between two columns. */
  happened(left, right) {
    return this.data.marks.filter(({ at_ms: at }) => this.columnOf(at) >= left - 1 && this.columnOf(at) < right + 1).map(({ text }) => text);
  }

  selection(pen, look) {
    const box = this.drag?.box ?? this.box;
    if (!box) return;
    const [left, right, low, high] = box;
    const [x, y] = [this.x(left), this.y(high)];
    const [width, height] = [this.x(right) - x, this.y(low) - y];
    pen.fillStyle = look.accent;
    pen.globalAlpha = this.data.chosen || this.drag ? 0.14 : 0.07;
    pen.fillRect(x, y, width, height);
    pen.globalAlpha = 1;
    pen.strokeStyle = look.accent;
    pen.lineWidth = 1.5;
    if (!this.data.chosen && !this.drag) pen.setLineDash([4, 3]);
    pen.strokeRect(x, y, width, height);
    pen.setLineDash([]);
  }

  // Pointer and keys.

  press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { from: this.cellAt(event), box: null };
  }

  hover(event) {
    const cell = this.cellAt(event);
    if (this.drag) {
      this.drag.box = cells.boxOf(this.drag.from, cell);
      this.painter.ask();
    }
    const over = this.drag?.box ?? cells.boxOf(cell, cell);
    this.tooltip.show(event, [...cells.describe(this.data, over), ...this.happened(over[0], over[1])]);
  }

  release() {
    const box = this.drag?.box;
    this.drag = null;
    this.tooltip.hide();
    if (box) this.choose(box);
  }

  cancel() {
    this.drag = null;
    this.painter.ask();
  }

  choose(box) {
    this.box = box;
    this.data = { ...this.data, chosen: box !== null };
    this.painter.ask();
    this.emit.trigger('box', { cells: box });
  }

  nudge(event) {
    // With Shift the far corner moves, else the whole box.
    const box = this.box && cells.moved(this.data, this.box, event.key, event.shiftKey);
    if (!box) return;
    event.preventDefault();
    event.stopPropagation();
    this.choose(box);
  }

  key(key) {
    if (key !== 'Escape') return false;
    if (this.drag) this.cancel();
    else if (this.data.chosen) this.choose(null);
    else return false;
    return true;
  }

  destroy() {
    this.stop();
    this.painter.destroy();
  }
}

export default component(Heatmap);
