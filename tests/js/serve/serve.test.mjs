// The development server answers as a good static host does.
import assert from 'node:assert/strict';
import { mkdtemp, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { contentSecurityPolicy } from '../../../pkg-scripts/lib/headers.mjs';
import { parseRange, serve } from '../../../pkg-scripts/serve.mjs';

const BYTES = Buffer.from(Array.from({ length: 1000 }, (_, i) => i % 251));
let folder, server;

/** One request with the path sent exactly as given; `fetch` would tidy it up. */
function ask(path, { method = 'GET', headers = {} } = {}) {
  const { hostname, port } = new URL(server.url);
  return new Promise((done, failed) => {
    const call = request({ hostname, port, path, method, headers }, async (response) => {
      const parts = [];
      for await (const part of response) parts.push(part);
      done({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) });
    });
    call.on('error', failed).end();
  });
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wdelta-serve-'));
  await mkdir(join(folder, 'site', 'js'), { recursive: true });
  await mkdir(join(folder, 'other'));
  await writeFile(join(folder, 'secret.txt'), 'secret');
  for (const name of ['index.html', 'remote.html', 'js/app.js', 'a.wasm', 'style.css', 'site.webmanifest', '.hidden']) {
    await writeFile(join(folder, 'site', name), name);
  }
  await writeFile(join(folder, 'site', 'model.safetensors'), BYTES);
  await writeFile(join(folder, 'site', 'empty.bin'), '');
  await writeFile(join(folder, 'site', 'a b.txt'), 'with a space');
  await writeFile(join(folder, 'other', 'wdelta.js'), 'mounted');
  await symlink(join(folder, 'secret.txt'), join(folder, 'site', 'link.txt'));
  server = await serve({ dir: join(folder, 'site'), mounts: { pkg: join(folder, 'other') } });
});

after(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

test('files come with their MIME types and all security headers', async () => {
  const expected = {
    '/': 'text/html; charset=utf-8',
    '/index.html': 'text/html; charset=utf-8',
    '/js/app.js': 'text/javascript; charset=utf-8',
    '/a.wasm': 'application/wasm',
    '/style.css': 'text/css; charset=utf-8',
    '/site.webmanifest': 'application/manifest+json',
    '/model.safetensors': 'application/octet-stream',
    '/pkg/wdelta.js': 'text/javascript; charset=utf-8',
    '/a%20b.txt?query#no': 'text/plain; charset=utf-8',
  };
  for (const [path, type] of Object.entries(expected)) {
    const { status, headers } = await ask(path);
    assert.equal(status, 200, path);
    assert.equal(headers['content-type'], type, path);
    assert.equal(headers['content-security-policy'], contentSecurityPolicy(), path);
    assert.equal(headers['cross-origin-opener-policy'], 'same-origin');
    assert.equal(headers['cross-origin-embedder-policy'], 'require-corp');
    assert.equal(headers['referrer-policy'], 'no-referrer');
    assert.equal(headers['x-content-type-options'], 'nosniff');
  }
  assert.equal((await ask('/')).body.toString(), 'index.html');
  assert.equal((await ask('/pkg/wdelta.js')).body.toString(), 'mounted');
});

test('only remote.html may read from other addresses', async () => {
  const { headers } = await ask('/remote.html');
  assert.match(headers['content-security-policy'], /connect-src 'self' https:;/);
  assert.match(contentSecurityPolicy(), /connect-src 'self';/);
  assert.equal(headers['content-security-policy'].replace(' https:', ''), contentSecurityPolicy());
});

test('ranges', async () => {
  const cases = [
    ['bytes=0-0', 0, 1],
    ['bytes=10-19', 10, 20],
    ['bytes=990-', 990, 1000],
    ['bytes=990-5000', 990, 1000],
    ['bytes=-10', 990, 1000],
    ['bytes=-5000', 0, 1000],
  ];
  for (const [range, start, end] of cases) {
    const { status, headers, body } = await ask('/model.safetensors', { headers: { range } });
    assert.equal(status, 206, range);
    assert.equal(headers['content-range'], `bytes ${start}-${end - 1}/1000`);
    assert.equal(headers['content-length'], String(end - start));
    assert.deepEqual(body, BYTES.subarray(start, end));
  }
  for (const range of ['bytes=1000-', 'bytes=5000-6000', 'bytes=-0']) {
    const { status, headers } = await ask('/model.safetensors', { headers: { range } });
    assert.equal(status, 416, range);
    assert.equal(headers['content-range'], 'bytes */1000');
  }
  for (const range of ['bytes=5-2', 'bytes=-', 'bytes=a-b', 'lines=0-1', 'bytes=0-1,5-6']) {
    const { status, body } = await ask('/model.safetensors', { headers: { range } });
    assert.equal(status, 200, range);
    assert.deepEqual(body, BYTES);
  }
  assert.equal((await ask('/empty.bin', { headers: { range: 'bytes=0-' } })).status, 416);
  assert.equal((await ask('/empty.bin')).status, 200);
});

test('positions beyond 4 GiB are parsed exactly', () => {
  assert.deepEqual(parseRange('bytes=4294967296-4294967299', 2 ** 33), [2 ** 32, 2 ** 32 + 4]);
  assert.deepEqual(parseRange('bytes=-1', 2 ** 40), [2 ** 40 - 1, 2 ** 40]);
});

test('If-Range gives the part only of the same file', async () => {
  const { headers } = await ask('/model.safetensors');
  for (const [condition, status] of [
    [headers.etag, 206],
    [headers['last-modified'], 206],
    ['"other"', 200],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 200],
  ]) {
    const got = await ask('/model.safetensors', { headers: { range: 'bytes=0-9', 'if-range': condition } });
    assert.equal(got.status, status, condition);
  }
  assert.equal((await ask('/model.safetensors', { headers: { 'if-none-match': headers.etag } })).status, 304);
});

test('HEAD sends headers only; other methods are refused', async () => {
  const head = await ask('/model.safetensors', { method: 'HEAD' });
  assert.equal(head.status, 200);
  assert.equal(head.headers['content-length'], '1000');
  assert.equal(head.headers['accept-ranges'], 'bytes');
  assert.equal(head.body.length, 0);
  const part = await ask('/model.safetensors', { method: 'HEAD', headers: { range: 'bytes=0-9' } });
  assert.equal(part.status, 206);
  assert.equal(part.headers['content-length'], '10');
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const { status, headers } = await ask('/', { method });
    assert.equal(status, 405);
    assert.equal(headers.allow, 'GET, HEAD');
  }
});

test('nothing outside the folder is served', async () => {
  const paths = [
    '/../secret.txt',
    '/js/../../secret.txt',
    '/%2e%2e/secret.txt',
    '/..%2fsecret.txt',
    '/js%2f..%2f..%2fsecret.txt',
    '/..%5csecret.txt',
    '/link.txt',
    '/.hidden',
    '//secret.txt',
    '/pkg/../../secret.txt',
    '/pkg/%2e%2e/secret.txt',
    '/model.safetensors%00.js',
    '/%',
    '/%ff',
    'x',
  ];
  for (const path of paths) {
    const { status, body } = await ask(path);
    assert.ok(status === 400 || status === 404, `${path}: ${status}`);
    assert.ok(!body.toString().includes('secret'), path);
  }
  for (const path of ['/missing', '/js', '/pkg', '/js/app.js/x', `/${'a'.repeat(5000)}`]) assert.equal((await ask(path)).status, 404, path);
});
