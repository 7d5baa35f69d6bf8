/* Chainlit's page waits for no answer to what it sends: a message into a connection that is dead, and not known to be,
   would be lost. Each is kept until the server says that it has it, and sent again by the next connection of its
   session; the server takes it once. What was refused, or was left behind by a new chat, is in the input again. */
import { putBack } from './input.js';

const LATE_MS = 2000;
const untaken = new Map(); // by the message's id

export const keep = (said, session, via) => {
  untaken.set(said.message.id, { said, session, via, at: performance.now() });
};

export const take = ({ id, is_refused: isRefused }) => {
  const text = untaken.get(id)?.said.message.output;
  untaken.delete(id);
  if (isRefused) putBack(text);
};

/* What a connection of the session has to say again: what came before it, or before it was ready. */
export const toSayAgain = (session, via) => {
  const again = [];
  for (const [id, one] of untaken) {
    if (one.session !== session) {
      untaken.delete(id);
      putBack(one.said.message.output);
    } else if (one.via !== via) {
      one.via = via;
      again.push({ ...one.said, again: true });
    }
  }
  return again;
};

addEventListener('beforeunload', (event) => {
  const isLate = ({ at }) => performance.now() - at > LATE_MS;
  if ([...untaken.values()].some(isLate)) event.preventDefault();
});
