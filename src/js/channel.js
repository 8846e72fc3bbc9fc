// @ts-check
// Questions and answers over a message port, the same on both sides.
/** @import { Answer } from './protocol.js' */
import { toPlain } from './errors.js';

/**
 * Numbers its questions, settles their promises when the answers come, and answers the other side's questions.
 * @template Asks what this side asks
 * @template Answers what it answers
 */
export class Channel {
  #asked = 0;
  /** @type {Map<number, { resolve(answer: any): void, reject(error: unknown): void }>} */
  #open = new Map();
  /** Why nothing can be asked any more. @type {{ error: unknown } | undefined} */
  broken;

  /**
   * @param {(message: any, transfer?: Transferable[]) => void} post
   * @param {(question: Answers) => Answer | Promise<Answer>} [answer]
   */
  constructor(post, answer = () => undefined) {
    this.post = post;
    this.answer = answer;
  }

  /**
   * @param {Asks} question
   * @param {Transferable[]} [transfer]
   * @returns {Promise<any>}
   */
  ask(question, transfer) {
    if (this.broken) return Promise.reject(this.broken.error);
    return new Promise((resolve, reject) => {
      const id = ++this.#asked;
      this.#open.set(id, { resolve, reject });
      this.post({ id, question }, transfer);
    });
  }

  /**
   * A message without an answer.
   * @param {Asks} question
   */
  tell(question) {
    if (!this.broken) this.post({ question });
  }

  /** @param {{ id?: number, question?: any, reply?: any, error?: any }} message */
  async receive({ id = 0, question, reply, error }) {
    if (question !== undefined) {
      try {
        const answer = await this.answer(question);
        if (id && !this.broken) this.post({ id, reply: answer?.reply }, answer?.transfer);
      } catch (thrown) {
        if (id && !this.broken) this.post({ id, error: toPlain(thrown) });
      }
      return;
    }
    const waiting = this.#open.get(id);
    this.#open.delete(id);
    if (error) waiting?.reject(error);
    else waiting?.resolve(reply);
  }

  /**
   * Rejects every open and every later question.
   * @param {unknown} error
   */
  break(error) {
    this.broken ??= { error };
    for (const { reject } of this.#open.values()) reject(this.broken.error);
    this.#open.clear();
  }
}
