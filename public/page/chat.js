/* The chat that is shown. A new one has its thread's address from its first message on, so that a reload comes back to
   it. Chainlit's list gives it, once it was fetched and only where it is drawn: on a phone it is not. */
import { offerModels, offerSettings } from './picked.js';

const home = new URL('../..', import.meta.url).pathname;

export let chat = {}; // `thread` is its thread, once it has begun one here; `turn` what runs

const tellRouter = (path) => {
  // The page has taken what it heard by then: else it would open its own thread anew.
  if (location.pathname === path) dispatchEvent(new PopStateEvent('popstate', { state: history.state }));
};

const begun = ({ thread_id: thread }) => {
  if (location.pathname !== home) return;
  chat.thread = thread;
  const path = `${home}thread/${chat.thread}`;
  history.replaceState(history.state, '', path);
  requestAnimationFrame(() => requestAnimationFrame(() => tellRouter(path)));
};

export const isShown = (thread) => location.pathname === `${home}thread/${thread}`;

export const beginAnew = () => document.getElementById('new-chat-button')?.click();

const leave = (event) => {
  if (!event.target.closest?.('#new-chat-button')) return;
  const list = document.getElementById('thread-history');
  const isListed = !chat.thread || !list || document.getElementById(`thread-${chat.thread}`);
  chat = {};
  if (isListed) return;
  // The list is still being fetched, and would lead back to the old thread when it is there.
  event.stopPropagation();
  location.assign(home);
};
document.addEventListener('click', leave, { capture: true });

/* What the server tells the chat, by the event's name. */
export const TOLD = {
  first_interaction: begun,
  set_modes: offerModels,
  chat_settings: offerSettings,
  new_chat: beginAnew,
  runs: ({ turn_id: turn }) => {
    chat.turn = turn;
  },
  // While a thread is opened there is no input. Else it was open, and is lost: Chainlit's page would say nothing.
  resume_thread_error: () => {
    if (location.pathname !== home && document.getElementById('chat-input')) location.reload();
  },
};
