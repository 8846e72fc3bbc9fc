// The browsers that tests run in: the system's Chromium, driven by playwright-core, and Firefox, by puppeteer-core.
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

/** Path of the first of these programs that is found. @param {...string} names */
export function first(...names) {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        continue;
      }
    }
  }
  return undefined;
}

/** Path of the browser: the variable CHROMIUM, or the first that is found. */
function chromiumPath() {
  const path = process.env.CHROMIUM || first('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable');
  if (!path) throw new Error('no Chromium found; install it or name it in the variable CHROMIUM');
  return path;
}

/** @param {import('playwright-core').LaunchOptions} [options] */
export function launchChromium(options) {
  return chromium.launch({ ...options, executablePath: chromiumPath() });
}

/** Path of Firefox: the variable FIREFOX, or Debian's; undefined if it is not there. */
export function firefoxPath() {
  const path = process.env.FIREFOX || '/usr/bin/firefox-esr';
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}

/**
 * Firefox through WebDriver BiDi, which needs no other program.
 *
 * @param {Record<string, unknown>} preferences
 */
export function launchFirefox(preferences) {
  return puppeteer.launch({ browser: 'firefox', executablePath: firefoxPath(), headless: true, extraPrefsFirefox: preferences });
}
