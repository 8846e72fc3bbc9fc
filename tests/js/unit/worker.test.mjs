// What a worker answers about files of the origin-private file system.
import assert from 'node:assert/strict';
import test from 'node:test';
import { stage } from './stage.mjs';

const { load } = stage();
const { serve } = await load('worker.js');
const { toError } = await load('errors.js');

/** Asks a worker that has opened one file. @param {object} access the file's sync access handle */
async function asking(access) {
  const waiting = new Map();
  const receive = serve((answer) => waiting.get(answer.id)(answer));
  let count = 0;
  const ask = (question) =>
    new Promise((resolve) => {
      waiting.set(++count, resolve);
      receive({ id: count, question: { spool: 1, ...question } });
    });
  const asked = [];
  const at = (name) => asked.push(name);
  const file = { createSyncAccessHandle: async () => access };
  const folder = { getFileHandle: async (name) => at(name) && file };
  const root = { getDirectoryHandle: async (name) => at(name) && folder };
  Object.defineProperty(globalThis, 'navigator', { value: { storage: { getDirectory: async () => root } }, configurable: true });
  const { error } = await ask({ type: 'open', folder: 'some', name: 'file' });
  assert.deepEqual([error, asked], [undefined, ['some', 'file']]);
  return ask;
}

const full = () => {
  throw new DOMException('The operation failed.', 'QuotaExceededError');
};
const failures = {
  'a write that comes short': [{ write: (bytes) => bytes.length - 1 }, 'write', /^private storage cannot be written: there is no room left/, true],
  'a write that throws': [{ write: full }, 'write', /^private storage cannot be written: there is no room left/, true],
  'a read that comes short': [{ read: (bytes) => bytes.length - 1 }, 'read', /^private storage cannot be read: /, false],
  'a read that throws': [
    {
      read() {
        throw new DOMException('The state is bad.', 'InvalidStateError');
      },
    },
    'read',
    /^private storage cannot be read: The state is bad\./,
    false,
  ],
  'a close that does not get everything to the disk': [{ flush: full, close() {} }, 'close', /^private storage cannot be written: there is no room left/, true],
};
for (const [name, [access, type, message, retryable]] of Object.entries(failures)) {
  test(`${name} is an error of private storage`, async () => {
    const ask = await asking(access);
    const { error, reply } = await ask({ type, offset: 0, bytes: new Uint8Array(8), keep: true });
    assert.equal(reply, undefined);
    assert.deepEqual([error.code, error.source, error.retryable], ['IO', 'private storage', retryable]);
    assert.match(toError(error).message, message);
    assert.doesNotMatch(error.cause.message, /\[object/);
  });
}

test('what is written whole comes back', async () => {
  const written = [];
  const ask = await asking({ write: (bytes, { at }) => written.push([at, ...bytes]) && bytes.length });
  const { reply, error } = await ask({ type: 'write', offset: 3, bytes: Uint8Array.of(1, 2) });
  assert.deepEqual([[...reply], error, written], [[1, 2], undefined, [[3, 1, 2]]]);
});
