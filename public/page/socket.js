/* The page's socket: what passes through it is looked at, and handed over together. */
import { chat, TOLD } from './chat.js';
import { chosenIn, confirmSettings, pickedModel } from './picked.js';
import { keep, newId, take, toSayAgain } from './untaken.js';

const EVENT = /^42\["(\w+)"/; // as Socket.IO writes one
const nameOf = (frame) => EVENT.exec(frame)?.[1];
const saidIn = (frame) => JSON.parse(frame.slice(2));
const frameOf = (name, ...args) => '42' + JSON.stringify([name, ...args]);

/* The server says in `ready` how long a message may be. One that is longer it is told of, and not sent: the socket
   would be closed for such a frame, again and again, and nobody would be told why. */
const fitting = (said, mostBytes) => {
  if (!said.message) return said;
  const bytes = new TextEncoder().encode(said.message.output).length;
  return bytes > mostBytes ? { ...said, message: { ...said.message, output: '' }, bytes } : said;
};

const reported = (task) => {
  try {
    task();
  } catch (error) {
    reportError(error);
  }
};

/* Frames that wait are handed over together. Chainlit draws the page anew after each task in which one came, and a
   thread that opens brings a hundred: drawn once and not as often, it is there a fifth of a second sooner. */
window.WebSocket = class extends WebSocket {
  #session;
  #chat; // the one that was shown when it was opened
  #mostBytes; // none until it is ready: what is sent before its thread was shown, would not be shown in it

  constructor(...made) {
    super(...made);
    this.addEventListener('open', () => {
      this.#chat = chat;
    });
  }

  send(frame) {
    const say = String(frame).startsWith('40{') ? this.#connect : this.#SAYING[nameOf(frame)];
    if (say) say(frame);
    else super.send(frame);
  }

  #connect = (frame) => {
    const asked = saidIn(frame);
    this.#session = asked.sessionId;
    super.send('40' + JSON.stringify({ ...asked, chosen: chosenIn(asked.sessionId) }));
  };

  #SAYING = {
    __proto__: null,
    client_message: (frame) => {
      const [event, said] = saidIn(frame);
      // What runs next has no name yet.
      chat.turn = undefined;
      this.#keep(said.message.id, event, said);
    },
    edit_message: (frame) => {
      const [event, { message }] = saidIn(frame);
      const id = newId();
      chat.turn = undefined;
      this.#keep(id, event, { message: { ...message, modes: { model: pickedModel() } }, id });
    },
    chat_settings_change: (frame) => {
      const [event, settings] = saidIn(frame);
      const id = newId();
      this.#keep(id, event, settings, { id, before: confirmSettings(settings) });
    },
    // It names what ran when it was pressed: it may come late.
    stop: (frame) => super.send(chat.turn ? frameOf('stop', { turn_id: chat.turn }) : frame),
  };

  #keep(id, event, ...args) {
    const isReady = Boolean(this.#mostBytes);
    keep(id, { event, args, session: this.#session, via: isReady ? this : null });
    if (isReady) this.#say({ event, args });
  }

  #say({ event, args }) {
    super.send(frameOf(event, ...args.map((said) => fitting(said, this.#mostBytes))));
  }

  #hear(frame) {
    const name = nameOf(frame);
    const heard = this.#HEARING[name] ?? (this.#chat === chat && Object.hasOwn(TOLD, name) && TOLD[name]);
    if (heard) heard(saidIn(frame)[1], this.#session);
  }

  #HEARING = {
    __proto__: null,
    ready: ({ most_bytes: mostBytes }) => {
      this.#mostBytes = mostBytes;
      for (const one of toSayAgain(this.#session, this)) this.#say(one);
    },
    taken: take,
  };

  set onmessage(handler) {
    const waiting = [];
    const { port1: later, port2: bell } = new MessageChannel();
    const handOver = () => {
      for (const event of waiting.splice(0)) {
        reported(() => handler.call(this, event));
        reported(() => this.#hear(event.data));
      }
    };
    later.onmessage = handOver;
    this.addEventListener('close', handOver);
    super.onmessage = (event) => {
      if (waiting.push(event) === 1) bell.postMessage(null);
    };
  }
};
