// Flame graph of many critical paths, hanging (root on top): width is time on
// the path, the heaviest child on the left. A click zooms; Esc and [ go back up.
// With `nodes.change` it is a difference: width is the later side, colour is by how
// much a node's own time rose (orange) or fell (blue) against the earlier one.

import { Painter, TableTwin, Tooltip, component, element, fit, hotkeys, ink, meaning, panelHead, theme } from './surface.js';
import * as layout from './flame-layout.js';
import { duration } from './units.js';

const ROW = 22;
const LABELLED = 36; // pixels: a narrower node has no label
const [SLOWER, FASTER] = [[232, 131, 58], [91, 143, 199]];
const UNSURE = 0.3; // of the colour of a change that chance may explain

class Flame {
  constructor(root) {
    this.root = root;
    this.head = element('div');
    this.canvas = element('canvas', { tabindex: '0', role: 'img' });
    root.append(this.head, element('div', { class: 'plot' }, [this.canvas]));
    this.tooltip = new Tooltip(root);
    this.twin = new TableTwin(root);
    this.current = 0;
    this.hovered = -1;
    this.drawn = [];
    this.painter = new Painter(root, () => this.draw());
    this.canvas.addEventListener('pointermove', (event) => this.hover(event));
    this.canvas.addEventListener('pointerleave', () => this.leave());
    this.canvas.addEventListener('click', (event) => this.click(event));
    this.stop = hotkeys((key) => this.key(key));
  }

  update(data, emit) {
    this.data = data;
    this.emit = emit;
    this.laid = layout.lay(data.nodes);
    this.zoomed = Math.max(0, data.nodes.key.indexOf(data.zoom));
    if (this.current >= data.nodes.key.length) this.current = this.zoomed;
    this.head.replaceChildren(panelHead(data.title, data.note, meaning(data.terms, 'critical path')));
    this.canvas.setAttribute('aria-label', data.label);
    this.most = data.nodes.change?.reduce((most, change) => Math.max(most, Math.abs(change)), 1);
    const heads = ['call path', 'on the path', 'share', 'own', data.nodes.change ? 'own, change' : 'calls'];
    this.twin.update(heads, () => this.laid.order.map((node) => layout.row(data, this.laid, node)), data.terms);
    this.painter.ask();
  }

  /** The colour of a node: its service's, or between the ground and orange or blue by how much it changed. */
  color(look, node) {
    const { service, change, sure } = this.data.nodes;
    if (!change) return this.data.colors[service[node]] ?? look.muted;
    const strength = Math.sqrt(Math.abs(change[node]) / this.most) * (sure[node] ? 1 : UNSURE);
    const ground = look.dark ? [44, 52, 64] : [226, 230, 236];
    const full = change[node] < 0 ? FASTER : SLOWER;
    return `rgb(${ground.map((part, at) => Math.round(part + (full[at] - part) * strength)).join(',')})`;
  }

  draw() {
    const look = theme(this.root);
    const wide = Math.max(80, this.root.clientWidth);
    const pen = fit(this.canvas, wide, (this.laid.deepest + 1) * ROW + 2);
    pen.font = `12px ${look.font}`;
    this.drawn = layout.seen(this.laid, this.zoomed, wide);
    for (const { node, left, right } of this.drawn) this.box(pen, look, node, left, right);
    return this.drawn.length;
  }

  box(pen, look, node, left, right) {
    const color = this.color(look, node);
    const top = this.laid.depth[node] * ROW;
    const above = this.laid.depth[node] < this.laid.depth[this.zoomed];
    pen.globalAlpha = above ? 0.45 : 1;
    pen.fillStyle = color;
    pen.fillRect(left, top + 1, Math.max(0.5, right - left - 1), ROW - 2);
    if (node === this.hovered || (node === this.current && this.root.dataset.keys)) {
      pen.strokeStyle = look.text;
      pen.lineWidth = 2;
      pen.strokeRect(left + 1, top + 2, Math.max(1, right - left - 3), ROW - 4);
    }
    if (right - left > LABELLED) this.label(pen, node, left, right, ink(color));
    pen.globalAlpha = 1;
  }

  label(pen, node, left, right, ink) {
    const { inclusive } = this.data.nodes;
    const middle = this.laid.depth[node] * ROW + ROW / 2;
    const time = duration(inclusive[node] / this.data.entries);
    const timeWide = pen.measureText(time).width;
    const name = layout.nameOf(this.data.nodes, node);
    pen.save();
    pen.beginPath();
    pen.rect(left, middle - ROW / 2, right - left - 5, ROW);
    pen.clip();
    pen.fillStyle = ink;
    pen.textAlign = 'left';
    pen.fillText(name, left + 6, middle);
    if (pen.measureText(name).width + timeWide + 24 < right - left) {
      pen.globalAlpha *= 0.8;
      pen.textAlign = 'right';
      pen.fillText(time, right - 8, middle);
    }
    pen.restore();
  }

  nodeAt(event) {
    const bounds = this.canvas.getBoundingClientRect();
    return layout.nodeAt(this.laid, this.drawn, event.clientX - bounds.left, Math.floor((event.clientY - bounds.top) / ROW));
  }

  hover(event) {
    const node = this.nodeAt(event);
    if (node !== this.hovered) {
      this.hovered = node;
      this.painter.ask();
    }
    if (node < 0) this.tooltip.hide();
    else this.tooltip.show(event, layout.describe(this.data, this.laid, node));
  }

  leave() {
    this.hovered = -1;
    this.tooltip.hide();
    this.painter.ask();
  }

  click(event) {
    const node = this.nodeAt(event);
    if (node >= 0) this.zoom(node === this.zoomed ? 0 : node);
  }

  zoom(node) {
    this.zoomed = node;
    this.current = node;
    this.painter.ask();
    this.emit.trigger('zoom', this.data.nodes.key[node]);
  }

  key(key) {
    const next = layout.towards(this.laid, this.current, key);
    if (next !== null) {
      this.current = next;
      this.root.dataset.keys = '1';
      this.root.dataset.current = layout.nameOf(this.data.nodes, this.current);
    } else if (key === 'Enter' || key === ']') this.zoom(this.current);
    else if (key === '[' && this.zoomed) this.zoom(this.data.nodes.parent[this.zoomed]);
    else if (key === 'Escape' && this.zoomed) this.zoom(0);
    else return false;
    this.painter.ask();
    return true;
  }

  destroy() {
    this.stop();
    this.painter.destroy();
  }
}

export default component(Flame);
