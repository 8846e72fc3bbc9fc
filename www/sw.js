// @ts-check
// Keeps one whole version of the site for offline use. The build writes the list of its files and their common digest
// into SITE; while that is empty (a development server), nothing is kept, and the worker goes again.

/** @type {{ version: string, files: string[] }} */
const SITE = { version: '', files: [] };

/**
 * What a service worker has and the page's type library does not know.
 * @typedef {Event & { waitUntil(promise: Promise<unknown>): void }} LifeEvent
 * @typedef {LifeEvent & { request: Request, respondWith(response: Promise<Response>): void }} FetchEvent
 */
const worker =
  /** @type {EventTarget & { registration: ServiceWorkerRegistration, clients: { claim(): Promise<void> }, skipWaiting(): Promise<void> }} */ (
    /** @type {unknown} */ (self)
  );
const CACHE = `wdelta ${SITE.version}`;
const SAMPLE = new URL('sample/', worker.registration.scope).pathname;

worker.addEventListener('install', (event) => {
  const fresh = SITE.files.map((path) => new Request(path, { cache: 'reload' }));
  /** @type {LifeEvent} */ (event).waitUntil(caches.open(CACHE).then((cache) => cache.addAll(fresh)));
});

worker.addEventListener('activate', (event) => {
  const clean = async () => {
    for (const name of await caches.keys()) if (name.startsWith('wdelta ') && name !== CACHE) await caches.delete(name);
    await (SITE.version ? worker.clients.claim() : worker.registration.unregister());
  };
  /** @type {LifeEvent} */ (event).waitUntil(clean());
});

// A new version waits until the user asks for it: never during a job, never two versions mixed.
worker.addEventListener('message', (event) => {
  if (/** @type {MessageEvent} */ (event).data === 'skip waiting') void worker.skipWaiting();
});

worker.addEventListener('fetch', (event) => {
  const { request } = /** @type {FetchEvent} */ (event);
  const { url, method, headers } = request;
  if (method !== 'GET' || headers.has('range') || !url.startsWith(worker.registration.scope)) return;
  const key = new URL(url).pathname.replace(/\/$/, '/index.html');
  const answer = async () => {
    const cache = await caches.open(CACHE);
    const kept = await cache.match(key);
    if (kept) return kept;
    const response = await fetch(request);
    // The sample is not loaded before it is asked for, then kept as well.
    if (SITE.version && response.ok && key.startsWith(SAMPLE)) await cache.put(key, response.clone());
    return response;
  };
  /** @type {FetchEvent} */ (event).respondWith(answer());
});
