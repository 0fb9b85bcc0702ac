// Asks the worker. A newer question on a channel replaces the older one.

/** @typedef {(channel: string, kind: string, ask: any, use: (part: any) => void) => Promise<boolean>} Ask
 * use: gets each part of the answer. -> whether the answer is complete; false if it was replaced. */

/** Start the worker. @param {string} source @param {any} page @param {ArrayBuffer} weights
 * @param {Uint8Array | null} code  of the compiled kernels
 * @returns {Promise<{ask: Ask, simd: boolean, reason: string}>} */
export function startWorker(source, page, weights, code) {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url);
  /** @type {Map<string, {id: number, use: (part: any) => void, end: (done: boolean) => void,
   *   fail: (error: Error) => void}>} */
  const open = new Map();
  let last = 0;

  /** @type {Ask} */
  function ask(channel, kind, question, use) {
    open.get(channel)?.end(false);
    const id = ++last;
    return new Promise((end, fail) => {
      open.set(channel, { id, use, end, fail });
      worker.postMessage({ id, channel, kind, ask: question });
    });
  }

  return new Promise((resolve, reject) => {
    worker.onerror = (event) => {
      const error = new Error(event.message || "the worker did not start");
      reject(error);
      for (const request of open.values()) request.fail(error);
      open.clear();
    };
    worker.onmessage = ({ data }) => {
      if (data.ready) return resolve({ ask, simd: data.simd, reason: data.reason });
      for (const [channel, request] of open) {
        if (request.id !== data.id) continue;
        if (data.part) return request.use(data.part);
        open.delete(channel);
        if (data.error) request.fail(new Error(data.error));
        else request.end(true);
      }
    };
    worker.postMessage({ page, weights, code }, [weights]);
  });
}

/** Calls `action` for the newest state only: while it runs, later calls wait as one.
 * @param {() => Promise<any>} action @returns {() => Promise<void>} */
export function newest(action) {
  let busy = false, waiting = false;
  return async function call() {
    if (busy) return void (waiting = true);
    busy = true;
    try {
      do {
        waiting = false;
        await action();
      } while (waiting);
    } finally {
      busy = false;
    }
  };
}
