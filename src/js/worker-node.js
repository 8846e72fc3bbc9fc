// @ts-check
// Where worker.js starts in Node: files by descriptor, and Node's own SHA-256.
import { readSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import './errors-node.js';
import { engine } from './core.js';
import { nodeHasher } from './hasher-node.js';
import { serve } from './worker.js';

engine.hasher = nodeHasher;

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);
const receive = serve((message, transfer) => port.postMessage(message, /** @type {any} */ (transfer)), {
  read(fd, offset, into) {
    for (let at = 0; at < into.length; ) {
      const got = readSync(fd, into, at, into.length - at, offset + at);
      // The core asks only for what was there when the file was opened.
      if (!got) throw Object.assign(new Error('it became shorter'), { name: 'NotReadableError' });
      at += got;
    }
  },
  write(fd, offset, bytes) {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, offset + at);
  },
});
port.on('message', receive);
