#!/usr/bin/env node
// Serves the page and the package as a static host should: MIME types, ranges, security headers.
//
//   node pkg-scripts/serve.mjs --port 8080            www/ as /, pkg/ as /pkg/
//   node pkg-scripts/serve.mjs --port 8080 --dir DIR  a folder as it is, such as one made by build.mjs --site
import { createReadStream } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { MIME_TYPES, securityHeaders } from './lib/headers.mjs';
import { BuildError, pkg, root, script } from './lib/run.mjs';

/**
 * The path below the site's root that a request means, or undefined if it is not one that this server answers:
 * bad escapes, dot files, parent folders, separators and NUL hidden in escapes.
 *
 * @param {string} target of the request line
 */
function sitePath(target) {
  const raw = /^\/[^?#]*/.exec(target)?.[0];
  if (!raw) return undefined;
  let segments;
  try {
    segments = raw.slice(1).split('/').map(decodeURIComponent);
  } catch {
    return undefined;
  }
  if (segments.at(-1) === '') segments[segments.length - 1] = 'index.html';
  const clean = segments.every((s) => s !== '' && !s.startsWith('.') && !/[/\\\0]/.test(s));
  return clean ? segments.join('/') : undefined;
}

/**
 * Opens a file that lies in the folder, links resolved; undefined if there is none.
 *
 * @param {string} folder
 * @param {string} path
 */
async function openInside(folder, path) {
  try {
    const base = await realpath(folder);
    const file = await realpath(resolve(base, path));
    if (!file.startsWith(base + sep)) return undefined;
    const handle = await open(file);
    const stat = await handle.stat({ bigint: true });
    if (stat.isFile()) return { handle, stat };
    await handle.close();
    return undefined;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'ENAMETOOLONG', 'ELOOP'].includes(error.code)) return undefined;
    throw error;
  }
}

/**
 * What a Range header asks of `size` bytes: `[start, end)`, 'unsatisfiable', or undefined for the whole file (no header,
 * another unit, bad syntax, or several ranges, which a server may decline).
 *
 * @param {string | undefined} header
 * @param {number} size
 * @returns {[number, number] | 'unsatisfiable' | undefined}
 */
export function parseRange(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return undefined;
  if (match[1] === '') {
    const last = Number(match[2]);
    return last === 0 || size === 0 ? 'unsatisfiable' : [Math.max(0, size - last), size];
  }
  const start = Number(match[1]);
  const end = match[2] === '' ? size : Math.min(size, Number(match[2]) + 1);
  if (match[2] !== '' && Number(match[2]) < start) return undefined;
  return start < size ? [start, end] : 'unsatisfiable';
}

/**
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:http').ServerResponse} response
 * @param {(path: string) => [folder: string, path: string]} locate
 * @param {(path: string) => Record<string, string>} siteHeaders
 */
async function answer(request, response, locate, siteHeaders) {
  const refuse = (/** @type {number} */ status, headers = {}) => {
    const text = `${status}\n`;
    response.writeHead(status, { ...siteHeaders(''), 'content-type': MIME_TYPES.txt, 'content-length': text.length, ...headers });
    response.end(request.method === 'HEAD' ? undefined : text);
  };
  if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(405, { allow: 'GET, HEAD' });
  const path = sitePath(request.url ?? '');
  if (!path) return refuse(400);
  const found = await openInside(...locate(path));
  if (!found) return refuse(404);

  const { handle, stat } = found;
  try {
    const size = Number(stat.size);
    const etag = `"${stat.size.toString(36)}-${stat.mtimeNs.toString(36)}"`;
    const modified = new Date(Number(stat.mtimeMs)).toUTCString();
    const headers = {
      ...siteHeaders(path),
      'content-type': MIME_TYPES[extname(path).slice(1)] ?? 'application/octet-stream',
      'accept-ranges': 'bytes',
      'cache-control': 'no-cache',
      'last-modified': modified,
      etag,
    };
    if (request.headers['if-none-match']?.split(',').some((tag) => tag.trim() === etag)) {
      response.writeHead(304, headers).end();
      return;
    }
    // If-Range wants the very same file; a date counts only if it is the exact one.
    const condition = request.headers['if-range'];
    const same = condition === undefined || condition === etag || condition === modified;
    const range = same ? parseRange(request.headers.range, size) : undefined;
    if (range === 'unsatisfiable') return refuse(416, { 'content-range': `bytes */${size}` });

    const [start, end] = range ?? [0, size];
    if (range) headers['content-range'] = `bytes ${start}-${end - 1}/${size}`;
    response.writeHead(range ? 206 : 200, { ...headers, 'content-length': end - start });
    if (request.method === 'HEAD' || end === start) return void response.end();
    await pipeline(createReadStream('', { fd: handle, start, end: end - 1, autoClose: false }), response);
  } finally {
    await handle.close();
  }
}

/**
 * Starts a server.
 *
 * @param {object} [options]
 * @param {number} [options.port] 0 (default) takes a free one
 * @param {string} [options.host]
 * @param {string} [options.dir] the site's root (default: www/ with pkg/ as `pkg`)
 * @param {Record<string, string>} [options.mounts] folders by first path segment
 * @param {(path: string) => Record<string, string>} [options.headers] sent with every answer (default: the page's security headers)
 * @returns {Promise<{ url: string, close(): Promise<void> }>}
 */
export async function serve({ port = 0, host = '127.0.0.1', dir, mounts = dir ? {} : { pkg }, headers = securityHeaders } = {}) {
  const folders = new Map(Object.entries(mounts));
  const locate = (/** @type {string} */ path) => {
    const [first, ...rest] = path.split('/');
    const folder = rest.length > 0 ? folders.get(first) : undefined;
    return /** @type {[string, string]} */ (folder ? [folder, rest.join('/')] : [dir ?? `${root}/www`, path]);
  };
  const server = createServer((request, response) => {
    answer(request, response, locate, headers).catch((error) => {
      // The usual cause is a client that went away half way.
      if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') console.error(error);
      response.destroy();
    });
  });
  await new Promise((done, failed) => server.once('error', failed).listen(port, host, () => done(undefined)));
  const { port: actual } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actual}/`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

async function main() {
  const { values } = parseArgs({
    options: { port: { type: 'string', default: '8080' }, host: { type: 'string' }, dir: { type: 'string' } },
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new BuildError(`--port wants a number from 0 to 65535, not ${values.port}.`);
  try {
    const { url } = await serve({ port, host: values.host, dir: values.dir && resolve(values.dir) });
    console.log(`serving ${values.dir ?? 'www/ and pkg/'} at ${url} (Ctrl-C ends)`);
  } catch (error) {
    if (error.code === 'EADDRINUSE') throw new BuildError(`port ${port} is in use; choose another one with --port.`);
    throw error;
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await script(main);
