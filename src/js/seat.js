// @ts-check
// One worker, started and ready to be asked.
/** @import { Link } from './types.js' */
import { Channel } from './channel.js';
import { load, loadEncoder } from './core.js';
import { WdeltaError } from './errors.js';
import { platform } from './platform.js';

export class Seat {
  /** @type {Link} */
  #link;
  channel;
  /** Answers the worker's questions. @type {(question: any) => any} */
  answer = () => undefined;

  /** @param {unknown} [encodes] whether it needs a core that this thread does not have */
  constructor(encodes) {
    this.encodes = encodes;
    try {
      this.#link = platform.connect(platform.createWorker());
    } catch (cause) {
      throw notStarted(cause);
    }
    this.channel = new Channel(this.#link.post, (question) => this.answer(question));
    this.#link.listen(
      (message) => this.channel.receive(message),
      (cause) => this.channel.break(this.#started ? ended(cause) : notStarted(cause)),
    );
    /** Resolves when the worker has the core. */
    this.ready = (encodes ? loadEncoder() : load()).then((module) => this.ask({ type: 'init', module }));
    this.ready.then(() => (this.#started = true), () => {});
  }

  #started = false;

  /**
   * @param {any} question
   * @param {Transferable[]} [transfer]
   */
  ask(question, transfer) {
    return this.channel.ask(question, transfer);
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
    this.channel.break(new WdeltaError('ABORTED', 'the worker was stopped'));
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
