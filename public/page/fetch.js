/* What the page asks without saying enough, and answers that it takes as they come, and must not. */
import { beginAnew, isShown } from './chat.js';
import { pickedModel } from './picked.js';

const { fetch } = window;
const latest = new Map(); // by what was asked
let before = Promise.resolve();
let user; // the last that was heard of who is signed in

const sameAsLatest = async (asked, question) => {
  const response = await asked;
  const later = latest.get(question);
  if (later === asked) return response.clone();
  return sameAsLatest(later, question).catch(() => response);
};

const whole = async (asked) => (await asked).clone().arrayBuffer();

// A button that has something asked again, has it asked of the model that is picked.
const ASKED = {
  '/project/action': (body) => JSON.stringify({ ...JSON.parse(body), model: pickedModel() }),
};

const ANSWERED = {
  // The page keeps what comes last of its list of threads, and where two ask for it, an answer from before the first
  // message may come after one from behind it. Whoever asked earlier gets what the latest question was answered.
  '/project/threads': (asked, { body }) => {
    const question = String(body);
    latest.set(question, asked);
    return sameAsLatest(asked, question);
  },
  // Who deletes the thread that is shown would stay in it, unless it was opened from the list.
  '/project/thread': async (asked, { method, body }) => {
    const response = await asked;
    if (method === 'DELETE' && response.ok && isShown(JSON.parse(body).threadId)) beginAnew();
    return response;
  },
  // A thread is opened by two connections, each made when a cookie was given for it. Only the second names the thread,
  // and the one that is made last stays: cookies are handed over in the order in which they were asked for, or the
  // page would wait for its thread forever.
  '/set-session-cookie': (asked) => {
    before = Promise.allSettled([before, whole(asked)]).then(() => asked);
    return before;
  },
  // Where this fails, Chainlit's page goes to the sign-in: also where only the network is away, or the server fails.
  '/user': async (asked) => {
    const response = await asked.catch(() => undefined);
    if (!response || response.status >= 500) return user?.clone() ?? asked;
    user = response.clone();
    return response;
  },
};

window.fetch = (input, init) => {
  const url = String(input.url ?? input);
  const ruleOf = (rules) => rules[Object.keys(rules).find((end) => url.endsWith(end))];
  const ask = ruleOf(ASKED);
  const asked = fetch(input, ask ? { ...init, body: ask(init.body) } : init);
  return ruleOf(ANSWERED)?.(asked, init ?? {}) ?? asked;
};
