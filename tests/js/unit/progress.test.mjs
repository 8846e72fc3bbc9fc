import assert from 'node:assert/strict';
import test from 'node:test';
import { Progress } from '../../../src/js/progress.js';

test('events are at most ten a second, never go back, and end complete', () => {
  let now = 0;
  const events = [];
  const progress = new Progress((event) => events.push({ now, ...event }), () => now);
  progress.plan(1000);
  for (; now < 2000; now += 10) progress.add(6);
  progress.finish();
  progress.end();
  progress.add(1);
  const gaps = events.slice(1, -1).map((event, i) => event.now - events[i].now);
  assert.ok(gaps.every((gap) => gap >= 100), String(gaps));
  assert.ok(events.length >= 15);
  assert.ok(events.every(({ done }, i) => !i || done >= events[i - 1].done));
  assert.deepEqual(events.at(-1), { now: 2000, phase: 'done', tensor: undefined, done: 1000, total: 1000, bytesPerSecond: 500, etaSeconds: 0, memory: 0 });
});

test('memory is what workers, outputs and the core hold together', () => {
  let last;
  const progress = new Progress((event) => (last = event), () => 0);
  progress.held.set('a worker', 3e6);
  progress.held.set('an output', 5e6);
  progress.held.set('a worker', 4e6);
  progress.finish();
  assert.equal(last.memory, 9e6);
  progress.end();
});

test('the rate is that of the last ten seconds, and unknown in the first', () => {
  let now = 0;
  let last;
  const progress = new Progress((event) => (last = event), () => now);
  progress.plan(10_000);
  const run = (seconds, each) => {
    for (const end = now + seconds * 1000; now < end; ) {
      now += 500;
      progress.add(each / 2);
    }
  };
  run(0.5, 100);
  assert.equal(last.bytesPerSecond, null);
  run(20, 100);
  assert.equal(Math.round(last.bytesPerSecond), 100);
  run(10, 300);
  assert.equal(Math.round(last.bytesPerSecond), 300);
  assert.equal(Math.round(last.etaSeconds), Math.round((10_000 - last.done) / 300));
  progress.end();
});
