// @ts-check
// One worker, started and ready to be asked.
/** @import { HostQuestion, WorkerQuestion } from './protocol.js' */
/** @import { Link } from './types.js' */
import { Channel } from './channel.js';
import { load, loadEncoder } from './core.js';
import { WdeltaError } from './errors.js';
import { platform } from './platform.js';

/**
 * The channel to a worker of its own. `answer` is set by whoever has it work.
 * @extends {Channel<WorkerQuestion, HostQuestion>}
 */
export class Seat extends Channel {
  /** @type {Link} */
  #link;
  #started = false;

  /** @param {unknown} [encodes] whether it needs a core that this thread does not have */
  constructor(encodes) {
    super((message, transfer) => this.#link.post(message, transfer));
    this.encodes = encodes;
    try {
      this.#link = platform.connect(platform.createWorker());
      this.#link.listen(
        (message) => this.receive(message),
        (cause) => this.break(this.#started ? ended(cause) : notStarted(cause)),
      );
    } catch (cause) {
      throw notStarted(cause);
    }
    /** Resolves when the worker has the core. */
    this.ready = (encodes ? loadEncoder() : load()).then((module) => this.ask({ type: 'init', module }));
    this.ready.then(() => (this.#started = true), () => {});
  }

  /**
   * Whether the process waits for this worker.
   * @param {boolean} busy
   */
  hold(busy) {
    this.#link.hold(busy);
  }

  /** Stops the worker at once; resolves when none of its code runs any more. */
  async end() {
    this.break(new WdeltaError('ABORTED', 'the worker was stopped'));
    await this.#link.end();
  }
}

/** @param {any} cause */
const notStarted = (cause) =>
  new WdeltaError(
    'IO',
    `a worker cannot be started (${cause?.message || 'its file or the page forbids it'}); ` +
      'make it with init({ createWorker }), or pass workers: 0',
    { cause },
  );

/** @param {any} cause */
const ended = (cause) => new WdeltaError('INTERNAL', `a worker ended unexpectedly: ${cause?.message ?? cause}`, { cause });
