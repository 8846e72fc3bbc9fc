// The headers a host of the page should send. The policy that counts for workers is the one of their own response.

const POLICY = {
  'default-src': "'none'",
  'script-src': "'self' 'wasm-unsafe-eval'",
  'style-src': "'self'",
  'img-src': "'self' blob:",
  'connect-src': "'self'",
  'worker-src': "'self'",
  'manifest-src': "'self'",
  'base-uri': "'none'",
  'form-action': "'none'",
  'require-trusted-types-for': "'script'",
  'trusted-types': 'wdelta',
};

/**
 * The content security policy of a page: of index.html, or of remote.html, which may read from any https address.
 *
 * @param {boolean} [remote]
 */
export function contentSecurityPolicy(remote = false) {
  const policy = remote ? { ...POLICY, 'connect-src': "'self' https:" } : POLICY;
  return Object.entries(policy)
    .map(([name, value]) => `${name} ${value}`)
    .join('; ');
}

/**
 * Headers for every answer.
 *
 * @param {string} path of the file below the site's root
 */
export function securityHeaders(path) {
  return {
    'content-security-policy': contentSecurityPolicy(/(^|\/)remote\.html$/.test(path)),
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  };
}

/** MIME types by extension; anything else is `application/octet-stream`. */
export const MIME_TYPES = {
  css: 'text/css; charset=utf-8',
  html: 'text/html; charset=utf-8',
  ico: 'image/x-icon',
  js: 'text/javascript; charset=utf-8',
  json: 'application/json',
  md: 'text/markdown; charset=utf-8',
  mjs: 'text/javascript; charset=utf-8',
  png: 'image/png',
  svg: 'image/svg+xml',
  txt: 'text/plain; charset=utf-8',
  wasm: 'application/wasm',
  webmanifest: 'application/manifest+json',
  woff2: 'font/woff2',
};
