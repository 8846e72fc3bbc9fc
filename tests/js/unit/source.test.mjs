// Where bytes come from: folders, files that change, servers of every kind.
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { folder, noise, stage } from './stage.mjs';

const { load } = stage();
const { decode, hash, inspect } = await load('node.js');
const deltas = [new Uint8Array(3)];
const paths = async (model) => (await hash({ model })).sources.map(({ path }) => path).sort();

test('a folder gives its files by their path inside it, without hidden ones', async () => {
  const home = folder();
  for (const name of ['model.safetensors', 'config.json', '.hidden', 'sub/x', 'a/b/c/d']) {
    mkdirSync(join(home, name, '..'), { recursive: true });
    writeFileSync(join(home, name), 'x');
  }
  symlinkSync('nowhere', join(home, 'dangling'));
  assert.deepEqual(await paths(home), ['config.json', 'model.safetensors', 'sub/x']);
  await assert.rejects(inspect(home), { code: 'USAGE', message: /one \.wdelta file/ });
});

test('the Hugging Face cache: links to blobs, and the repository’s own folder', async () => {
  const home = folder();
  for (const name of ['blobs', 'refs', 'snapshots/abc', 'snapshots/def']) mkdirSync(join(home, name), { recursive: true });
  writeFileSync(join(home, 'blobs/123'), 'x');
  writeFileSync(join(home, 'refs/main'), 'def');
  symlinkSync('../../blobs/123', join(home, 'snapshots/def/model.safetensors'));
  symlinkSync('../../blobs/123', join(home, 'snapshots/abc/old.safetensors'));
  assert.deepEqual(await paths(join(home, 'snapshots/abc')), ['old.safetensors']);
  assert.deepEqual(await paths(home), ['model.safetensors']);
  writeFileSync(join(home, 'refs/main'), 'gone');
  await assert.rejects(hash({ model: home }), { code: 'USAGE', message: /several snapshots/ });
});

for (const [name, change] of Object.entries({
  'grows': (path) => appendFileSync(path, 'x'),
  'shrinks': (path) => truncateSync(path, 1000),
  'is touched': (path) => utimesSync(path, 1, 1),
})) {
  for (const workers of [0, 1]) {
    for (const when of ['before', 'after']) {
      test(`a file that ${name} ${when} it is read, with ${workers} workers`, async () => {
        const path = join(folder(), 'base');
        writeFileSync(path, noise(300_000));
        const trigger = {
          size: 131_072,
          read(_, length) {
            change(path);
            return new Uint8Array(length);
          },
        };
        const base = when === 'before' ? [trigger, path] : [path, trigger];
        const error = await decode({ base, deltas, workers }).catch((thrown) => thrown);
        assert.deepEqual([error.code, error.source, error.retryable], ['SOURCE_CHANGED', path, true]);
      });
    }
  }
}

// ---- URLs ---------------------------------------------------------------------------------------------------------

const body = noise(500_000);
/** What the server does by path, and what was asked of it. */
const routes = new Map();
let requests = [];
const server = createServer((request, response) => {
  requests.push(`${request.method} ${request.headers.range ?? ''}`.trim());
  routes.get(request.url)(request, response);
}).listen(0, '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
after(() => server.closeAllConnections() ?? server.close());
const { port } = /** @type {any} */ (server.address());

/**
 * @param {(request: any, response: any) => void} handler
 * @returns its URL
 */
function serve(handler) {
  const path = `/${routes.size}/chat%20v2.wdelta?secret=1`;
  routes.set(path, handler);
  requests = [];
  return `http://127.0.0.1:${port}${path}`;
}

/** A server with ranges; `headers` may add to or take from what it answers. */
const ranges = (headers = {}) => (request, response) => {
  const [, start, end] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
  if (start === undefined) {
    response.writeHead(200, { 'content-length': body.length }).end(request.method === 'HEAD' ? undefined : body);
    return;
  }
  const last = Math.min(Number(end), body.length - 1);
  response.writeHead(206, { 'content-range': `bytes ${start}-${last}/${body.length}`, ...headers });
  response.end(body.subarray(Number(start), last + 1));
};

test('a URL is read in ranges, small reads share a block', async () => {
  const url = serve(ranges());
  const { sources, heads } = await inspect(url);
  assert.deepEqual(sources, [{ role: 'delta', group: 0, path: 'chat v2.wdelta', size: body.length }]);
  assert.equal(heads[0], Buffer.from(body.subarray(0, 8)).toString());
  assert.deepEqual(requests, ['GET bytes=0-0', 'GET bytes=0-65535']);
  const { data } = await decode({ base: url, deltas, workers: 2 });
  assert.deepEqual(data, body);
});

test('a Request brings its headers', async () => {
  const url = serve((request, response) => {
    if (request.headers.authorization === 'Bearer x') ranges()(request, response);
    else response.writeHead(401).end();
  });
  await assert.rejects(inspect(url), { code: 'IO', message: /does not let you read it/, retryable: false });
  assert.equal((await inspect(new Request(url, { headers: { authorization: 'Bearer x' } }))).sources[0].size, body.length);
});

test('without Content-Range the length comes from HEAD', async () => {
  const url = serve(ranges({ 'content-range': undefined }));
  const handler = routes.get(new URL(url).pathname + new URL(url).search);
  routes.set(new URL(url).pathname + new URL(url).search, (request, response) => {
    const writeHead = response.writeHead.bind(response);
    response.writeHead = (status, { 'content-range': _, ...headers }) => writeHead(status, headers);
    handler(request, response);
  });
  assert.equal((await inspect(url)).sources[0].size, body.length);
  assert.deepEqual(requests, ['GET bytes=0-0', 'HEAD', 'GET bytes=0-65535']);
});

test('what cannot be a size is refused', async () => {
  const url = serve((_, response) => response.writeHead(206, { 'content-range': 'bytes 0-0/99999999999999999999' }).end('w'));
  await assert.rejects(inspect(url), { code: 'IO', message: /has no sensible size$/ });
});

test('what cannot be a URL is refused', async () => {
  for (const url of ['http://', 'https://[', 'http://user:word@127.0.0.1/x']) await assert.rejects(inspect(url), { code: 'IO', message: /cannot be read: / });
  await assert.rejects(inspect('s3://models/x'), { code: 'USAGE', message: /is not the URL of a file/ });
});

test('a server without ranges is refused, or read whole when that is allowed', async () => {
  const url = serve((_, response) => response.writeHead(200, { 'content-length': body.length }).end(body));
  const error = await inspect(url).catch((thrown) => thrown);
  assert.equal(error.code, 'NO_RANGES');
  assert.doesNotMatch(error.message + error.source, /secret/);
  const { data } = await decode({ base: url, deltas, workers: 1, allowFullRead: true });
  assert.deepEqual(data, body);
});

test('a length that is not told spools to a file that goes again', async () => {
  const url = serve((_, response) => response.end(body));
  const { data } = await decode({ base: url, deltas, workers: 1, allowFullRead: true });
  assert.deepEqual(data, body);
});

test('trouble that passes is waited out', async () => {
  let times = 0;
  const url = serve((request, response) => (++times === 1 ? response.writeHead(503).end() : ranges()(request, response)));
  assert.equal((await inspect(url)).sources[0].size, body.length);
});

/** Sends the head of a part and then `sent` bytes of it, and breaks off. */
const breakOff = (sent) => (request, response) => {
  const [, start, end] = /bytes=(\d+)-(\d+)/.exec(request.headers.range);
  response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${body.length}`, 'content-length': end - start + 1 });
  response.flushHeaders();
  if (sent) response.write(body.subarray(Number(start), Number(start) + sent));
  setImmediate(() => response.destroy());
};

test('a part that breaks off once is asked for again', async () => {
  let times = 0;
  const url = serve((request, response) => (++times % 2 ? breakOff(times === 1 ? 0 : 100) : ranges())(request, response));
  const { heads } = await inspect(url);
  assert.equal(heads[0], Buffer.from(body.subarray(0, 8)).toString());
  assert.deepEqual(requests, ['GET bytes=0-0', 'GET bytes=0-0', 'GET bytes=0-65535', 'GET bytes=0-65535']);
});

test('a server that always breaks off is an error that says so', async () => {
  const url = serve(breakOff(0));
  const error = await inspect(url).catch((thrown) => thrown);
  assert.deepEqual([error.code, error.retryable], ['IO', true]);
  assert.match(error.message, /chat%20v2\.wdelta broke off; run it again$/);
  assert.ok(error.cause instanceof Error);
  assert.equal(requests.length, 4);
});

test('a first part that never comes is left when the caller aborts', async () => {
  const controller = new AbortController();
  const url = serve((_, response) => {
    response.writeHead(206, { 'content-range': `bytes 0-0/${body.length}`, 'content-length': 1 });
    response.flushHeaders();
    setTimeout(() => controller.abort(), 50);
  });
  await assert.rejects(inspect(url, { signal: controller.signal }), { code: 'ABORTED' });
});

test('a file that is replaced on the server', async () => {
  let times = 0;
  const url = serve((request, response) => ranges({ etag: `"${++times}"` })(request, response));
  await assert.rejects(inspect(url), { code: 'SOURCE_CHANGED' });
});

test('an answer that is too short is no data', async () => {
  const url = serve((request, response) => {
    if (request.headers.range === 'bytes=0-0') ranges()(request, response);
    else response.writeHead(206, { 'content-range': `bytes 0-65535/${body.length}` }).end(body.subarray(0, 100));
  });
  await assert.rejects(inspect(url), { code: 'TRUNCATED', retryable: true });
});

test('a missing file is not asked for twice', async () => {
  const url = serve((_, response) => response.writeHead(404).end());
  await assert.rejects(inspect(url), { code: 'IO', message: /answers 404/ });
  assert.equal(requests.length, 1);
});

test('a server that never answers is left when the caller aborts', async () => {
  const controller = new AbortController();
  const url = serve(() => controller.abort());
  await assert.rejects(inspect(url, { signal: controller.signal }), { code: 'ABORTED' });
});
