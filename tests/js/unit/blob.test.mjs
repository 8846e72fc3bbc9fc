// Parts of blobs: through a stream into a buffer that is used again, and in another way when the stream stops.
import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import test, { mock } from 'node:test';
import { readBlob } from '../../../src/js/blob.js';
import { held, lose, take } from '../../../src/js/buffers.js';
import { noise } from './stage.mjs';

const SIZE = 3 << 20;
/** Length of the buffer that such a part is read into. */
const BUFFER = 4 << 20;
const all = noise(4 << 20);
const wanted = Buffer.from(all.subarray(1000, 1000 + SIZE));

/**
 * A blob whose parts are read by `pull`, which answers a request of a stream as it likes.
 * @param {(controller: any, source: Uint8Array, at: number) => void | Promise<void>} pull
 */
function fakeBlob(pull) {
  const state = { cancelled: 0, whole: 0 };
  const slice = (start, end) => {
    const source = all.subarray(start, end);
    let at = 0;
    const stream = new ReadableStream({
      type: 'bytes',
      async pull(controller) {
        at = (await pull(controller, source, at)) ?? at;
      },
      cancel() {
        state.cancelled++;
      },
    });
    return {
      stream: () => stream,
      async arrayBuffer() {
        state.whole++;
        return source.slice().buffer;
      },
    };
  };
  return { slice, state };
}

/** Fills the request's buffer, at most 100,000 bytes at a time. */
function answer({ byobRequest }, source, at) {
  const part = source.subarray(at, at + Math.min(100_000, byobRequest.view.byteLength));
  new Uint8Array(byobRequest.view.buffer, byobRequest.view.byteOffset, part.length).set(part);
  byobRequest.respond(part.length);
  return at + part.length;
}

/** Reads the part that is wanted, with no buffer kept from before. */
async function read(blob) {
  while (held()) lose(take(SIZE).buffer.byteLength);
  let got;
  await readBlob(blob, 1000, SIZE, (bytes) => (got = Buffer.from(bytes)));
  return got;
}

test('a stream that answers in pieces is read to its end, into one buffer', async () => {
  const blob = fakeBlob(answer);
  assert.ok((await read(blob)).equals(wanted));
  assert.equal(held(), BUFFER, 'kept for the next');
  assert.deepEqual(blob.state, { cancelled: 1, whole: 0 });
});

for (const [name, answers] of [['never answers', 0], ['stops in the middle', 7]]) {
  test(`a stream that ${name} is left, and the part is read at once`, async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] });
    t.after(() => mock.timers.reset());
    let pulls = 0;
    const blob = fakeBlob((controller, source, at) => (pulls++ < answers ? answer(controller, source, at) : new Promise(() => {})));
    let done = false;
    const reading = read(blob).finally(() => (done = true));
    while (pulls <= answers) await setImmediate();
    mock.timers.tick(999);
    await setImmediate();
    assert.equal(done, false, 'a slow stream gets its second');
    assert.equal(held(), BUFFER);
    mock.timers.tick(1);
    assert.ok((await reading).equals(wanted));
    assert.equal(held(), 0, 'the stream has the buffer for good');
    assert.deepEqual(blob.state, { cancelled: 1, whole: 1 });
  });
}

test('a failing stream is an error, and its buffer is counted out', async () => {
  for (const pull of [(controller) => controller.error(new DOMException('gone', 'NotReadableError')), (controller) => (controller.close(), controller.byobRequest.respond(0))]) {
    await assert.rejects(read(fakeBlob(pull)), { name: 'NotReadableError' });
    assert.equal(held(), 0);
  }
});

test('a blob without such streams is read at once', async () => {
  const blob = fakeBlob(answer);
  const slice = (start, end) => ({ ...blob.slice(start, end), stream: () => new ReadableStream() });
  assert.ok((await read({ slice })).equals(wanted));
  assert.equal(held(), 0);
});
