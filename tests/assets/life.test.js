// How long a component lives, whatever the order in which Streamlit draws and ends it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { component } from '../../tracelens/assets/surface.js';

class Kind {
  constructor(root) {
    this.root = root;
    root.drawings.push(this);
  }

  update(data) { this.data = data; }

  destroy() { this.ended = true; }
}

const draw = component(Kind);

function place() {
  const root = { isConnected: true, drawings: [] };
  return { root, show: (data) => draw({ data, parentElement: { querySelector: () => root } }) };
}

const seen = ({ root }) => root.drawings.map(({ data, ended }) => [data, Boolean(ended)]);

test('data that were overtaken end nothing, before newer ones are drawn or after', () => {
  const before = place();
  before.show('old')();
  before.show('new');
  assert.deepEqual(seen(before), [['new', false]]);
  const after = place();
  const end = after.show('old');
  after.show('new');
  end();
  assert.deepEqual(seen(after), [['new', false]]);
});

test('what leaves the page ends, once', () => {
  const one = place();
  const end = one.show('data');
  one.root.isConnected = false;
  end();
  assert.deepEqual(seen(one), [['data', true]]);
  one.root.drawings[0].ended = false;
  end();
  assert.deepEqual(seen(one), [['data', false]]);
});

test('what nobody ended when it left the page ends when another is drawn', () => {
  const [one, other] = [place(), place()];
  one.show('one');
  one.root.isConnected = false;
  other.show('other');
  assert.deepEqual([seen(one), seen(other)], [[['one', true]], [['other', false]]]);
});

test('data that come when all is gone leave nothing behind', () => {
  const one = place();
  one.root.isConnected = false;
  one.show('late');
  assert.deepEqual(seen(one), [['late', true]]);
});
