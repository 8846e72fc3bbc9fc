// WebKitGTK, the engine of Safari, on a display of its own: what tests need of WebDriver's protocol (https://www.w3.org/TR/webdriver2/).
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { first } from './browser.mjs';

/** Longest wait for anything, in milliseconds: the browser is a slow one where the machine is busy. */
const PATIENCE = 60_000;
/** The key of an element's reference. */
const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';

/** Programs that it needs. */
const programs = () => ({ driver: first('WebKitWebDriver'), display: first('Xvfb') });

/** Whether it is here. */
export const hasWebKit = () => Object.values(programs()).every(Boolean);

/** A port that nobody listens at. @returns {Promise<number>} */
const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => done(port));
    });
  });

/**
 * What an action gives as soon as it gives something.
 * @template T
 * @param {string} what
 * @param {() => Promise<T>} action
 */
async function eventually(what, action) {
  for (const end = Date.now() + PATIENCE; ; await sleep(50)) {
    try {
      const got = await action();
      if (got) return got;
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
  }
}

/** Starts it. */
export async function launchWebKit() {
  const { driver, display } = programs();
  // The display's number is its own choice, told through a pipe.
  const screen = spawn(String(display), ['-displayfd', '1', '-screen', '0', '1280x900x24'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const number = String((await screen.stdout[Symbol.asyncIterator]().next()).value).trim();
  const port = await freePort();
  const env = { ...process.env, DISPLAY: `:${number}`, LIBGL_ALWAYS_SOFTWARE: '1', WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1' };
  const server = spawn(String(driver), [`--port=${port}`], { env, stdio: 'ignore' });

  /** @param {string} method @param {string} path @param {object} [body] @returns {Promise<any>} */
  async function ask(method, path, body) {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${path}: ${value.error}: ${value.message}`);
    return value;
  }

  const stop = () => [server, screen].forEach((process) => process.kill());
  const begun = eventually('the driver', () => ask('POST', '/session', { capabilities: { alwaysMatch: {} } }));
  const { sessionId } = await begun.catch((error) => {
    stop();
    throw error;
  });
  const session = `/session/${sessionId}`;
  await ask('POST', `${session}/timeouts`, { script: PATIENCE });
  /** The result of a function's body, in which `args` are the arguments. @param {string} body @param {...any} args */
  const run = (body, ...args) => ask('POST', `${session}/execute/sync`, { script: `const args = arguments; ${body}`, args });
  return {
    run,
    /** The same, of one that awaits. @param {string} body @param {...any} args */
    runAsync: (body, ...args) =>
      ask('POST', `${session}/execute/async`, {
        script: `const args = arguments, done = args[args.length - 1]; (async () => { ${body} })().then(done, (error) => done(String(error)));`,
        args,
      }),
    /** @param {string} url */
    open: (url) => ask('POST', `${session}/url`, { url }),
    /** Waits until an expression is true. @param {string} expression */
    until: (expression) => eventually(expression, () => run(`return ${expression}`)),
    /** Gives files to the input that a selector finds. @param {string} selector @param {string[]} paths */
    async upload(selector, paths) {
      const found = await ask('POST', `${session}/element`, { using: 'css selector', value: selector });
      await ask('POST', `${session}/element/${found[ELEMENT]}/value`, { text: paths.join('\n') });
    },
    async close() {
      await ask('DELETE', session).catch(() => {});
      stop();
    },
  };
}
