// How long calls take on two sides, one outline over the other: the axis is
// logarithmic, each area is all calls of its side, marks are percentiles.

import { Painter, TableTwin, Tooltip, component, element, panelHead, svg } from './surface.js';
import { count, duration, logTicks, percent, roundDuration } from './units.js';

const HIGH = 240;
const POINTS = 240; // of an outline
const [TOP, BOTTOM] = [18, 26]; // pixels, for marks and axis
const DASHES = { p50: '1 4', p90: '6 4', p99: null };

class Distribution {
  constructor(root) {
    this.root = root;
    this.head = element('div');
    this.plot = element('div', { class: 'plot' });
    root.append(this.head, this.plot);
    this.tooltip = new Tooltip(root);
    this.twin = new TableTwin(root);
    this.painter = new Painter(root, () => this.draw());
    this.plot.addEventListener('pointermove', (event) => this.hover(event));
    this.plot.addEventListener('pointerleave', () => this.tooltip.hide());
  }

  update(data) {
    this.data = data;
    this.smooth = Math.max(...data.sides.map((side) => bandwidth(side)));
    this.span(data.sides.filter((side) => side.calls));
    const legend = data.sides.map(({ name, calls }, at) =>
      element('span', { class: `legend side-${'ab'[at]}`, text: `${name}, n ${count(calls)}` }));
    this.head.replaceChildren(panelHead(data.title, legend));
    this.twin.update(['duration', ...data.sides.map(({ name }) => name)], () => this.lines());
    this.painter.ask();
  }

  draw() {
    const { sides, label } = this.data;
    this.wide = Math.max(240, this.root.clientWidth);
    const named = [];
    const heights = sides.map((side) => this.heights(side));
    const peak = Math.max(...heights.flat(), 1e-9);
    this.plot.replaceChildren(svg('svg', { class: 'distribution', width: this.wide, height: HIGH, role: 'img', 'aria-label': label }, [
      ...this.axis(),
      ...heights.map((height, at) => svg('path', { class: `side-${'ab'[at]}`, d: this.outline(height, peak) })),
      ...this.marks(sides[1], 'b', named),
      ...this.marks(sides[0], 'a', named),
    ]));
    return sides.length;
  }

  /** The durations at the ends of the axis: those there are, with room for the bells, and at least a factor of two. */
  span(sides) {
    const firsts = sides.map((side) => bound(side, side.counts.findIndex(Boolean)));
    const lasts = sides.map((side) => bound(side, side.counts.findLastIndex(Boolean) + 1));
    const room = Math.exp(Math.max(3 * this.smooth, 0.35));
    this.low = Math.min(...firsts, 1e12) / room;
    this.high = Math.max(...lasts, this.low) * room;
  }

  x(nano) {
    return (Math.log(Math.max(nano, 1) / this.low) / Math.log(this.high / this.low)) * this.wide;
  }

  /** Heights of a side's outline at POINTS places of the axis: each call is a bell as wide as on the other side. */
  heights(side) {
    const length = Math.log(this.high / this.low);
    return Array.from({ length: POINTS + 1 }, (_, point) => {
      const place = (point / POINTS) * length;
      let sum = 0;
      side.counts.forEach((n, at) => {
        const far = n ? (place - Math.log(bound(side, at + 0.5) / this.low)) / this.smooth : 5;
        if (Math.abs(far) < 4) sum += n * Math.exp((-far * far) / 2);
      });
      return sum / Math.max(side.calls, 1);
    });
  }

  outline(heights, peak) {
    const floor = HIGH - BOTTOM;
    const points = heights.map((height, at) => {
      const y = floor - (height / peak) * (floor - TOP - 8);
      return `L${((at / POINTS) * this.wide).toFixed(1)} ${y.toFixed(1)}`;
    });
    return `M0 ${floor}${points.join('')}L${this.wide} ${floor}Z`;
  }

  axis() {
    const floor = HIGH - BOTTOM;
    const few = this.high / this.low < 30;
    const ticks = logTicks(this.low, this.high, few ? [1, 1.5, 2, 3, 5, 7] : undefined);
    const every = Math.ceil((ticks.length * 64) / this.wide);
    return [
      svg('line', { class: 'axis', x1: 0, x2: this.wide, y1: floor, y2: floor }),
      ...ticks.filter((_, at) => at % every === 0).flatMap((nano) => {
        const x = this.x(nano).toFixed(1);
        const anchor = x < 20 ? 'start' : x > this.wide - 20 ? 'end' : 'middle';
        const text = svg('text', { x, y: HIGH - 6, 'text-anchor': anchor });
        text.textContent = roundDuration(nano);
        return [svg('line', { class: 'axis', x1: x, x2: x, y1: floor, y2: floor + 4 }), text];
      }),
    ];
  }

  /** A line a percentile, named at its top where there is room: B's names first, A's a line below. */
  marks({ percentiles }, letter, named) {
    const top = letter === 'a' ? TOP + 14 : TOP;
    return Object.entries(percentiles).filter(([, nano]) => nano !== null).flatMap(([name, nano]) => {
      const x = this.x(nano);
      const line = svg('line', { class: `mark side-${letter}`, x1: x, x2: x, y1: HIGH - BOTTOM, y2: top, 'stroke-dasharray': DASHES[name] });
      if (named.some((other) => Math.abs(x - other) < 34)) return [line];
      named.push(x);
      const text = svg('text', { class: `side-${letter}`, x: Math.min(x + 3, this.wide - 24), y: top + 8 });
      text.textContent = name;
      return [line, text];
    });
  }

  hover(event) {
    const bounds = this.plot.getBoundingClientRect();
    const place = (event.clientX - bounds.left) / bounds.width;
    const nano = this.low * (this.high / this.low) ** place;
    const lines = this.data.sides.map((side) => below(side, nano)).map((share, at) => `${this.data.sides[at].name}: ${percent(share)} of calls`);
    this.tooltip.show(event, [`up to ${duration(nano)}`, ...lines]);
  }

  lines() {
    const steps = 20;
    return Array.from({ length: steps }, (_, at) => {
      const nano = this.low * (this.high / this.low) ** ((at + 1) / steps);
      return [`up to ${duration(nano)}`, ...this.data.sides.map((side) => below(side, nano)).map(percent)];
    });
  }

  destroy() {
    this.painter.destroy();
  }
}

/** How wide each call is drawn, on the axis: by the middle half of the calls, and less the more calls there are. */
export function bandwidth(side) {
  const [lower, upper] = [0.25, 0.75].map((share) => {
    let left = share * side.calls;
    return side.counts.findIndex((n) => (left -= n) <= 0);
  });
  const half = (Math.max(upper - lower, 1) * Math.log(side.high / side.low)) / side.counts.length;
  return Math.min(0.2, Math.max(0.02, 0.67 * half * Math.max(side.calls, 1) ** -0.2));
}

/** The duration at a bound between a side's steps. */
export function bound({ counts, low, high }, at) {
  return low * (high / low) ** (at / counts.length);
}

/** The share of a side's calls that take no longer than that. */
export function below(side, nano) {
  let calls = 0;
  side.counts.forEach((n, at) => {
    const [from, to] = [bound(side, at), bound(side, at + 1)];
    const part = Math.log(Math.max(nano, 1) / from) / Math.log(to / from);
    calls += n * Math.min(1, Math.max(0, part));
  });
  return side.calls ? calls / side.calls : 0;
}

export default component(Distribution);
