/* Chainlit's page waits for no answer to what it sends: what is said into a connection that is dead, and not known to
   be, would be lost. Each message, edit and change of settings is kept until the server says that it has it, and sent
   again by the next connection of its session; the server takes it once. A message that was refused, or was left behind
   by a new chat, is in the input again. */
import { putBack } from './input.js';

const LATE_MS = 2000;
const untaken = new Map(); // by an id: a message has one, an edit and settings are given one

const hex = (byte) => byte.toString(16).padStart(2, '0');

/* A UUID. The browser makes one itself only where the page came by HTTPS or from this machine. */
export const newId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return [...bytes].map(hex).join('').replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
};

/* `event` with `args` is what is said, by a session, `via` a connection; none, if none was ready. */
export const keep = (id, { event, args, session, via }) => {
  untaken.set(id, { event, args, session, via, at: performance.now() });
};

const textOf = ({ event, args }) => (event === 'client_message' ? args[0].message.output : undefined);

export const take = ({ id, is_refused: isRefused }) => {
  const one = untaken.get(id);
  untaken.delete(id);
  if (one && isRefused) putBack(textOf(one));
};

/* What a connection of the session has to say again: what came before it, or before it was ready. */
export const toSayAgain = (session, via) => {
  const again = [];
  for (const [id, one] of untaken) {
    if (one.session !== session) {
      untaken.delete(id);
      putBack(textOf(one));
    } else if (one.via !== via) {
      one.via = via;
      again.push({ event: one.event, args: [...one.args.slice(0, -1), { ...one.args.at(-1), again: true }] });
    }
  }
  return again;
};

addEventListener('beforeunload', (event) => {
  const isLate = ({ at }) => performance.now() - at > LATE_MS;
  if ([...untaken.values()].some(isLate)) event.preventDefault();
});
