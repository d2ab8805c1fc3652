// Where services and lines of the map lie: on a desk from left to right, on a phone from top to bottom.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arrow, around, curve, place, short } from '../../tracelens/assets/map-layout.js';

const LAYERS = [['web'], ['cart', 'catalog', 'pay'], ['db']];

function boxes({ places, node }) {
  return [...places.values()].map(({ x, y }) => ({
    left: x - node.wide / 2, right: x + node.wide / 2, top: y - node.high / 2, bottom: y + node.high / 2,
  }));
}

function apart(laid) {
  const all = boxes(laid);
  return all.every((a, at) => all.slice(at + 1).every((b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top));
}

test('callers stand left of callees, the middle of each layer on one line', () => {
  const laid = place(LAYERS, 1_200);
  assert.equal(laid.down, false);
  const at = (name) => laid.places.get(name);
  assert.ok(at('web').x < at('cart').x && at('cart').x < at('db').x);
  assert.deepEqual([at('web').y, at('db').y], [at('catalog').y, at('catalog').y]);
});

test('on a phone callers stand above callees, within its width', () => {
  const laid = place(LAYERS, 360);
  assert.ok(laid.down && laid.width === 360);
  assert.ok(laid.places.get('web').y < laid.places.get('cart').y);
  for (const { left, right } of boxes(laid)) assert.ok(left >= 0 && right <= 360);
});

test('no two services cover each other, and all lie within the drawing', () => {
  for (const width of [360, 700, 1_440]) {
    const laid = place(LAYERS, width);
    assert.ok(apart(laid));
    for (const box of boxes(laid)) {
      assert.ok(box.left >= 0 && box.top >= 0 && box.right <= laid.width && box.bottom <= laid.height);
    }
  }
});

test('two hundred services in ten layers have each a place of its own, on a desk and on a phone', () => {
  const crowd = [3, 12, 30, 60, 50, 25, 12, 5, 2, 1].map((n, depth) => Array.from({ length: n }, (_, at) => `s${depth}-${at}`));
  for (const width of [360, 700, 1_376]) {
    const laid = place(crowd, width);
    assert.equal(laid.places.size, 200);
    assert.ok(laid.many && apart(laid));
    for (const box of boxes(laid)) {
      assert.ok(box.left >= 0 && box.top >= 0 && box.right <= laid.width && box.bottom <= laid.height);
      assert.ok(box.right - box.left >= 80);
    }
    assert.ok(laid.scale >= 0.72 && laid.scale <= 1);
  }
  assert.equal(place(crowd, 360).width, 360);
  const at = (name) => place(crowd, 1_376).places.get(name);
  assert.deepEqual([at('s3-0').x < at('s3-1').x, at('s3-1').y - at('s3-0').y], [true, 16], 'between two of the first column');
  const desk = place(crowd, 1_376);
  assert.ok(desk.width * desk.scale <= 1_376.001, 'it fits the desk');
  assert.ok(desk.height * desk.scale < 1_000);
});

test('a chain deeper than the screen is wide scrolls, and can still be read', () => {
  const laid = place(Array.from({ length: 50 }, (_, at) => [`s${at}`]), 1_376);
  assert.equal(laid.scale, 0.72);
  assert.ok(laid.width * laid.scale > 1_376 && apart(laid));
});

const EDGES = [['a', 'b'], ['b', 'c'], ['x', 'b'], ['x', 'y']].map(([caller, callee]) => ({ id: caller + callee, caller, callee }));

test('a service has to do with its callers and callees, a line with its two ends', () => {
  const found = around(EDGES, ['b']);
  assert.deepEqual([[...found.lines].sort(), [...found.services].sort()], [['ab', 'bc', 'xb'], ['a', 'b', 'c', 'x']]);
  assert.deepEqual([...around(EDGES, ['x', 'y']).lines], ['xy']);
  assert.deepEqual([...around(EDGES, ['z']).services], ['z']);
});

test('no service, and one, are no error', () => {
  assert.equal(place([], 1_200).places.size, 0);
  assert.deepEqual(place([['web']], 1_200).places.get('web'), { x: 70, y: 35 });
});

test('a line leaves the side of its caller and ends before its callee, where the arrow points', () => {
  const laid = place(LAYERS, 1_200);
  const [from, to] = [laid.places.get('web'), laid.places.get('cart')];
  const made = curve(from, to, laid);
  assert.ok(made.d.startsWith(`M${from.x + 66},${from.y} C`));
  assert.deepEqual(made.end, { x: to.x - 66 - 7, y: to.y });
  assert.ok(arrow(made, 2).startsWith(`M${to.x - 66},${to.y} L`));
  assert.ok(made.middle.x > from.x && made.middle.x < to.x);
});

test('a line back leaves the other side, and one to itself is a loop above it', () => {
  const laid = place(LAYERS, 1_200);
  const [web, db] = [laid.places.get('web'), laid.places.get('db')];
  assert.deepEqual(curve(db, web, laid).way, { x: -1, y: 0 });
  assert.ok(curve(web, web, laid).middle.y < web.y - 22);
  assert.deepEqual(curve(...[...place(LAYERS, 360).places.values()].slice(0, 2), place(LAYERS, 360)).way, { x: 0, y: 1 });
});

test('labels of a phone stand where no service does', () => {
  const laid = place([['a'], ['b', 'c', 'd', 'e', 'f'], ['g']], 360);
  const { places, node } = laid;
  for (const [caller, callee] of [...'bcdef'].flatMap((name) => [['a', name], [name, 'g']])) {
    const { middle } = curve(places.get(caller), places.get(callee), laid);
    for (const { y } of places.values()) assert.ok(Math.abs(middle.y - y) > node.high / 2 + 5, `${caller} to ${callee}`);
  }
});

test('a name is cut to the room there is, in its middle', () => {
  const room = { wide: 132, pixels: 7.4 };
  assert.equal(short('recommendation-service', room), 'recommend…vice');
  assert.equal(short('recommendation-worker', room), 'recommend…rker');
  assert.equal(short('web', room), 'web');
  assert.equal(short('recommendation', { wide: 20, pixels: 7.4 }), 're…n');
});
