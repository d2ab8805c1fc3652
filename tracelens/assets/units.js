// Numbers as people read them, and the marks of an axis. The same digits as
// tracelens/report/units.py: a test compares the two.

const SCALES = [[1e9, 's'], [1e6, 'ms'], [1e3, 'µs']];

function digits(value) {
  const size = Math.abs(value);
  if (size >= 99.95) return fixed(value, 0).replace(/\B(?=(\d{3})+$)/g, ',');
  return fixed(value, size < 9.995 ? 2 : 1);
}

/** A number with so many places; one in the middle between two becomes the even one, as in Python. */
function fixed(value, places) {
  const scale = 10 ** places;
  const middle = Number.isInteger(value * 2 ** (places + 1)) && Math.abs((value * scale) % 1) === 0.5;
  return (middle ? (2 * Math.round((value * scale) / 2)) / scale : value).toFixed(places);
}

/** A duration in nanoseconds with three significant digits: `412 µs`, `8.21 ms`, `1.23 s`. */
export function duration(nano) {
  if (nano === null || nano === undefined) return '–';
  const size = Math.abs(nano);
  if (size < 1e3) return `${fixed(nano, 0)} ns`;
  for (const [scale, unit] of SCALES) {
    if (size >= scale * 0.9995) return `${digits(nano / scale)} ${unit}`;
  }
  return `${digits(nano / 1e3)} µs`;
}

/** A round duration, as an axis wants it: `30 ms`, `1 s`. */
export function roundDuration(nano) {
  if (nano === 0) return '0';
  for (const [scale, unit] of SCALES) {
    if (Math.abs(nano) >= scale * 0.9995) return `${Number((nano / scale).toPrecision(3))} ${unit}`;
  }
  return `${Number(nano.toPrecision(3))} ns`;
}

export function count(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ',');
}

const LAYERS = { network_queueing: 'network + queueing' };

/** What to add to an operation's name: nothing for the application, ` · egress proxy` and so on. */
export function layerSuffix(layer) {
  return layer && layer !== 'app' ? ` · ${LAYERS[layer] ?? layer.replace('_', ' ')}` : '';
}

export function percent(share) {
  if (share > 0 && share < 0.001) return '<0.1 %';
  return `${fixed(100 * share, 1)} %`;
}

/** A moment on the viewer's clock, `14:02:31`; the seconds only when asked for. */
export function clock(milliseconds, seconds = true) {
  const moment = new Date(milliseconds);
  const parts = [moment.getHours(), moment.getMinutes()].concat(seconds ? [moment.getSeconds()] : []);
  return parts.map((part) => String(part).padStart(2, '0')).join(':');
}

export function day(milliseconds) {
  return new Date(milliseconds).toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
}

/** Durations 1, 3, 10, 30, … between two, for a logarithmic axis. factors: those in a decade. */
export function logTicks(low, high, factors = [1, 3]) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const factor of factors) {
      const value = factor * 10 ** power;
      if (value >= low && value <= high) ticks.push(value);
    }
  }
  return ticks;
}

/** Round numbers 1, 2, 5, … that cut [low, high] into about `wanted` parts. */
export function linearTicks(low, high, wanted) {
  const raw = Math.max((high - low) / wanted, 1e-9);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) ticks.push(value);
  return ticks;
}

const TIME_STEPS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800,
];

/** Round moments between two, in milliseconds, on the viewer's clock. */
export function timeTicks(start, end, wanted) {
  const raw = (end - start) / 1000 / wanted;
  const step = 1000 * (TIME_STEPS.find((size) => size >= raw) ?? TIME_STEPS.at(-1));
  const zone = new Date(start).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let at = Math.ceil((start - zone) / step) * step + zone; at <= end; at += step) ticks.push(at);
  return { ticks, seconds: step < 60_000, days: step >= 86_400_000 };
}
