// Flame graph of many critical paths, hanging (root on top): width is time on
// the path, the heaviest child on the left. A click zooms; Esc and [ go back up.
// With `nodes.change` it is a difference: width is the later side, colour is by how
// much a node's own time rose (orange) or fell (blue) against the earlier one.

import { Painter, TableTwin, Tooltip, component, element, fit, hotkeys, luminance, panelHead, theme } from './surface.js';
import { count, duration, layerSuffix, percent } from './units.js';

const ROW = 22;
const THIN = 0.5; // pixels: a narrower node is not drawn
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
    this.lay(data.nodes);
    this.zoomed = Math.max(0, data.nodes.key.indexOf(data.zoom));
    if (this.current >= data.nodes.key.length) this.current = this.zoomed;
    this.head.replaceChildren(panelHead(data.title, data.note));
    this.canvas.setAttribute('aria-label', data.label);
    this.most = data.nodes.change?.reduce((most, change) => Math.max(most, Math.abs(change)), 1);
    const heads = ['call path', 'on the path', 'share', 'own', data.nodes.change ? 'own, change' : 'calls'];
    this.twin.update(heads, () => this.order.map((node) => this.line(node)));
    this.painter.ask();
  }

  /** Place every node: left edge and width as a share of the root's. */
  lay({ parent, inclusive }) {
    this.children = parent.map(() => []);
    parent.forEach((above, node) => {
      if (above >= 0) this.children[above].push(node);
    });
    for (const children of this.children) children.sort((a, b) => inclusive[b] - inclusive[a]);
    this.left = new Float64Array(parent.length);
    this.width = new Float64Array(parent.length);
    this.depth = new Int32Array(parent.length);
    this.order = [];
    this.width[0] = 1;
    const stack = parent.length ? [0] : [];
    while (stack.length) {
      const node = stack.pop();
      this.order.push(node);
      let at = this.left[node];
      for (const child of this.children[node]) {
        this.left[child] = at;
        this.width[child] = inclusive[0] ? inclusive[child] / inclusive[0] : 0;
        this.depth[child] = this.depth[node] + 1;
        at += this.width[child];
      }
      stack.push(...this.children[node].toReversed());
    }
    this.deepest = this.order.reduce((most, node) => Math.max(most, this.depth[node]), 0);
  }

  name(node) {
    const { service, operation, layer } = this.data.nodes;
    return service[node] ? `${service[node]} ${operation[node]}${layerSuffix(layer[node])}` : operation[node];
  }

  line(node) {
    const { inclusive, exclusive, calls } = this.data.nodes;
    return [
      `${'\u2003'.repeat(this.depth[node])}${this.name(node)}`,
      duration(inclusive[node] / this.data.entries), percent(this.width[node]),
      duration(exclusive[node] / this.data.entries), this.data.nodes.change ? this.change(node) : count(calls[node]),
    ];
  }

  change(node) {
    const change = this.data.nodes.change[node];
    return `${change < 0 ? '−' : '+'}${duration(Math.abs(change))}`;
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
    const pen = fit(this.canvas, wide, (this.deepest + 1) * ROW + 2);
    pen.font = `12px ${look.font}`;
    const [from, share] = [this.left[this.zoomed], this.width[this.zoomed] || 1];
    this.drawn = [];
    for (const node of this.order) {
      const left = Math.max(0, ((this.left[node] - from) / share) * wide);
      const right = Math.min(wide, ((this.left[node] + this.width[node] - from) / share) * wide);
      if (right - left < THIN) continue;
      this.box(pen, look, node, left, right);
      this.drawn.push({ node, left, right });
    }
    return this.drawn.length;
  }

  box(pen, look, node, left, right) {
    const color = this.color(look, node);
    const top = this.depth[node] * ROW;
    const above = this.depth[node] < this.depth[this.zoomed];
    pen.globalAlpha = above ? 0.45 : 1;
    pen.fillStyle = color;
    pen.fillRect(left, top + 1, Math.max(THIN, right - left - 1), ROW - 2);
    if (node === this.hovered || (node === this.current && this.root.dataset.keys)) {
      pen.strokeStyle = look.text;
      pen.lineWidth = 2;
      pen.strokeRect(left + 1, top + 2, Math.max(1, right - left - 3), ROW - 4);
    }
    if (right - left > LABELLED) this.label(pen, node, left, right, luminance(color) > 0.55 ? '#10151d' : '#ffffff');
    pen.globalAlpha = 1;
  }

  label(pen, node, left, right, ink) {
    const { inclusive } = this.data.nodes;
    const middle = this.depth[node] * ROW + ROW / 2;
    const time = duration(inclusive[node] / this.data.entries);
    const timeWide = pen.measureText(time).width;
    const name = this.name(node);
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
    const depth = Math.floor((event.clientY - bounds.top) / ROW);
    const x = event.clientX - bounds.left;
    return this.drawn.find(({ node, left, right }) => this.depth[node] === depth && x >= left && x < right)?.node ?? -1;
  }

  hover(event) {
    const node = this.nodeAt(event);
    if (node !== this.hovered) {
      this.hovered = node;
      this.painter.ask();
    }
    if (node < 0) this.tooltip.hide();
    else this.tooltip.show(event, this.describe(node));
  }

  describe(node) {
    const { inclusive, exclusive, calls, change } = this.data.nodes;
    return [
      this.name(node),
      `${duration(inclusive[node] / this.data.entries)} a call on the path · ${percent(this.width[node])}`,
      `own ${duration(exclusive[node] / this.data.entries)}`,
      change ? `own ${this.change(node)} against A` : `on the path of ${count(calls[node])} of ${count(this.data.entries)} calls`,
    ];
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
    const siblings = (node) => this.children[this.data.nodes.parent[node]] ?? [node];
    const beside = (step) => siblings(this.current)[siblings(this.current).indexOf(this.current) + step];
    const parent = this.data.nodes.parent[this.current];
    const moves = {
      ArrowDown: this.children[this.current]?.[0], j: this.children[this.current]?.[0],
      ArrowUp: parent, k: parent, ArrowLeft: beside(-1), ArrowRight: beside(1),
    };
    if (key in moves) {
      if (moves[key] >= 0) this.current = moves[key];
      this.root.dataset.keys = '1';
      this.root.dataset.current = this.name(this.current);
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
