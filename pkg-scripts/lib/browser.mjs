// The browser that tests run in: the system's Chromium, driven by playwright-core.
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** Path of the browser: the variable CHROMIUM, or the first that is found. */
function chromiumPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of NAMES) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        continue;
      }
    }
  }
  throw new Error('no Chromium found; install it or name it in the variable CHROMIUM');
}

/** @param {import('playwright-core').LaunchOptions} [options] */
export function launchChromium(options) {
  return chromium.launch({ ...options, executablePath: chromiumPath() });
}
