// @ts-check
// Progress on stderr: a line that is drawn over on a terminal, else a line now and then.
/** @import { ProgressEvent } from '../types.js' */
import { formatBytes, formatDuration, printable, shorten } from './units.js';

/** Shortest time between two lines of what is no terminal, in ms: logs are read later. */
const LOGGED = 10_000;

export function progressLine() {
  const { stderr } = process;
  const live = stderr.isTTY && process.env.TERM !== 'dumb';
  let drawn = false;
  let last = Date.now();
  return {
    /** @param {ProgressEvent} event */
    show({ phase, tensor, done, total, bytesPerSecond, etaSeconds }) {
      const share = total ? done / total : 0;
      const parts = [phase.padEnd(8)];
      if (total) parts.push(`${String(Math.floor(share * 100)).padStart(3)} %`, `${formatBytes(done)} of ${formatBytes(total)}`);
      if (bytesPerSecond) parts.push(`${formatBytes(bytesPerSecond)}/s`);
      if (etaSeconds !== null && share < 1) parts.push(`about ${formatDuration(etaSeconds)} left`);
      if (!live) {
        if (!total || Date.now() - last < LOGGED) return;
        last = Date.now();
        stderr.write(`${parts.join('  ')}\n`);
        return;
      }
      const room = (stderr.columns || 80) - 1;
      if (total) parts.splice(1, 0, `[${'#'.repeat(Math.round(share * 20)).padEnd(20, '-')}]`);
      let line = parts.join('  ');
      if (line.length > room) line = parts.filter((part) => part[0] !== '[').join('  ');
      if (tensor && room - line.length > 18) line += `  ${shorten(printable(tensor), room - line.length - 2)}`;
      stderr.write(`\r\x1b[K${shorten(line, room)}`);
      drawn = true;
    },

    /** Takes the line away, so that something else can be written. */
    clear() {
      if (drawn) stderr.write('\r\x1b[K');
      drawn = false;
    },
  };
}
