// Cancel, as tests press it: in the page itself, where no message to the browser comes between.

/**
 * Presses start, then Cancel; waits until the job has ended and its files are gone, though not for ever.
 *
 * @param {import('playwright-core').Page} page that shows a view with a start
 * @param {{ share?: number, after?: number }} moment the share of the work that is done, or milliseconds since the start
 * @returns {Promise<{ before: number, left: number, answered: number, gone: number }>} files before Cancel and at the end;
 *   milliseconds from the press until the page said so, and until the last file was gone
 */
export function cancelAt(page, moment) {
  return page.evaluate(async ({ share = 0, after = 0 }) => {
    const frame = () => new Promise((done) => setTimeout(done, 1));
    const count = async (folder) => {
      let found = 0;
      for await (const handle of folder.values()) found += handle.kind === 'directory' ? await count(handle) : 1;
      return found;
    };
    // A folder that goes while it is counted is counted again.
    const files = async () => {
      for (;;) {
        try {
          return await count(await navigator.storage.getDirectory());
        } catch (error) {
          if (error.name !== 'NotFoundError') throw error;
        }
      }
    };
    document.querySelector('[data-key="start"]').click();
    const bar = document.querySelector('.job-bar');
    const progress = bar.querySelector('progress');
    while (bar.hidden) await frame();
    const began = performance.now();
    // When all that was foreseen is done, the bar has no value any more.
    let known = false;
    const reached = () => {
      known ||= progress.position >= 0;
      return share === 0 || (progress.position >= 0 ? progress.value >= share : known);
    };
    while ((!reached() || performance.now() - began < after) && !bar.hidden) await frame();
    if (bar.hidden) throw new Error('the job ended before it could be cancelled');
    const before = await files();
    const pressed = performance.now();
    bar.querySelector('[data-key="cancel"]').click();
    while (!bar.hidden && !/cancelling/.test(bar.textContent)) await frame();
    const answered = performance.now() - pressed;
    while (!bar.hidden || (await files()) > 0) {
      if (performance.now() - pressed > 10_000) break;
      // The files were being counted when the job ended: Cancel came too late, and its file is the result that is shown.
      if (bar.hidden && document.querySelector('[data-result]')) throw new Error('the job ended before it could be cancelled');
      await frame();
    }
    return { before, answered, gone: performance.now() - pressed, left: await files() };
  }, moment);
}
