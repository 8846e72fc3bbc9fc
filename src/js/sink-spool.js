// @ts-check
// What cannot be written at a position, read back and thrown away again gets the result only when it is finished and
// verified.
/** @import { Output, OutputFile, Sink, SinkObject, Spool } from './types.js' */
import { checkAbort, failed, orAborted, usage } from './errors.js';
import { attempt, readRange } from './host.js';
import { spoolFor } from './spool.js';

/** Bytes that are handed on at once. */
const CHUNK = 4 << 20;

/**
 * A place that takes finished files.
 * @typedef {object} Target
 * @property {boolean} [folder] takes several
 * @property {(files: OutputFile[]) => Promise<void>} [check]
 * @property {(path: string) => Promise<SinkObject>} open
 * @property {boolean} [waits] somebody waits at its other end, and must learn of a failure before the first byte too
 * @property {(path: string, spool: any) => Promise<boolean>} [adopt] takes the spool's own file, if that is possible
 * @property {() => Promise<void>} [undo] removes what `open` and `adopt` made
 */

/**
 * @param {Target} target
 * @returns {Sink}
 */
export function spoolSink(target) {
  /** @type {(Output & { path: string, spool: Spool })[]} */
  const outputs = [];
  /** @type {{ sink: SinkObject, name: string }[]} */
  const open = [];
  return {
    copies: true,
    async check(files) {
      if (!target.folder && files.length > 1) throw usage(`the result has ${files.length} files, and output takes one: give a folder`);
      await target.check?.(files).catch(failed('the output', 'written'));
    },
    async create(files) {
      for (const { path, size } of files) {
        const spool = await spoolFor(size);
        outputs.push({ ...spool, spool, path, size, name: path || 'the output' });
      }
      return outputs;
    },
    async commit(signal, wrote) {
      for (const output of outputs) {
        const { path, size, spool } = output;
        if (await target.adopt?.(path, spool)) {
          wrote(size);
          continue;
        }
        const sink = await target.open(path).catch(failed(output.name, 'written'));
        open.push({ sink, name: output.name });
        for (let offset = 0; offset < size; offset += CHUNK) {
          checkAbort(signal);
          const bytes = await readRange(output, offset, new Uint8Array(Math.min(CHUNK, size - offset)));
          await orAborted(attempt(() => sink.write(offset, bytes)), signal).catch(failed(output.name, 'written'));
          wrote(bytes.length);
        }
      }
      for (const { sink, name } of open) await attempt(() => sink.close()).catch(failed(name, 'written'));
      await Promise.all(outputs.map(({ spool }) => spool.close()));
      return {};
    },
    async abort(/** @type {any} */ reason) {
      // Where it cannot be opened, nobody waits.
      if (!open.length && target.waits) await target.open('').then((sink) => open.push({ sink, name: '' }), () => {});
      for (const { sink } of open) {
        const told = attempt(() => sink.abort?.(reason)).catch(() => {});
        // Who has stopped taking bytes may not answer this either, and a caller who aborts does not wait for that.
        if (!target.waits || reason?.code !== 'ABORTED') await told;
      }
      await Promise.all(outputs.map(({ spool }) => spool.close()));
      await target.undo?.();
    },
  };
}

/**
 * @param {WritableStreamDefaultWriter} writer
 * @returns {SinkObject}
 */
export const fromStream = (writer) => ({
  write: (_, bytes) => writer.write(bytes),
  close: () => writer.close(),
  abort: (reason) => writer.abort(reason),
});
