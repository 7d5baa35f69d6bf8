/* Names for what Chainlit draws without one, as a button that is only a picture; and what it says in English, whatever
   the language. */
import { worded } from './words.js';

const BY_PLACE = {
  '[data-sidebar=sidebar] #sidebar-trigger-button': 'threadHistory.sidebar.actions.close',
  '#sidebar-trigger-button': 'threadHistory.sidebar.actions.open',
  '#search-chats-button': 'threadHistory.sidebar.filters.search',
  '#new-chat-button': 'navigation.newChat.button',
  '#upload-button': 'chat.input.actions.attachFiles',
  '#chat-settings-open-modal': 'chat.settings.title',
  '#chat-submit': 'chat.input.actions.send',
  '#stop-button': 'chat.input.actions.stop',
  '#chat-profiles': 'parley.profile',
  '#edit-chat-input': 'parley.edit',
};
const BY_ICON = {
  copy: 'chat.messages.actions.copy.button',
  check: 'chat.messages.actions.copy.success',
  'thumbs-up': 'chat.messages.feedback.positive',
  'thumbs-down': 'chat.messages.feedback.negative',
  'message-circle': 'chat.messages.feedback.edit',
  star: 'chat.favorites.headline',
  x: 'common.actions.cancel',
  'rotate-ccw': 'parley.again',
  info: 'parley.details',
  pencil: 'parley.edit',
  'share-2': 'threadHistory.thread.menu.share',
  'arrow-left': 'common.actions.goBack',
  'arrow-down': 'parley.to_end',
};
// What Chainlit says in English, whatever the language.
const BY_TEXT = { 'Toggle theme': 'parley.theme', Close: 'parley.close' };
const TOLD = [
  [/^Couldn't resume chat(?:: |$)/, 'parley.not_opened'],
  [/^File type must be .*/s, 'parley.file_kind'],
  [/^File is larger than (?=\d+ MB$)/, 'parley.file_large'],
  [/^Too many files$/, 'parley.files_many'],
];

const nameOf = (button) => {
  const text = button.textContent.trim();
  if (text) return worded(BY_TEXT[text] ?? '');
  const icon = [...(button.querySelector('svg')?.classList ?? [])]
    .map((name) => name.replace(/^lucide-/, ''))
    .find((name) => BY_ICON[name]);
  return worded(BY_ICON[icon] ?? '');
};

const label = (element, said) => {
  if (!said) return;
  if (element.getAttribute('role') === 'presentation') element.removeAttribute('role');
  element.setAttribute('aria-label', said);
};

export const nameButtons = () => {
  for (const [place, key] of Object.entries(BY_PLACE)) {
    for (const one of document.querySelectorAll(`${place}:not([aria-label])`)) label(one, worded(key));
  }
  for (const button of document.querySelectorAll('button:not([aria-label])')) label(button, nameOf(button));
  for (const menu of document.querySelectorAll('#thread-options:not([role])')) {
    menu.setAttribute('role', 'button');
    label(menu, worded('threadHistory.thread.menu.rename'));
  }
};

export const nameDialogs = () => {
  for (const dialog of document.querySelectorAll('[role=dialog]:not([aria-label])')) {
    if (document.getElementById(dialog.getAttribute('aria-labelledby'))) continue;
    const title = dialog.querySelector('h2')?.textContent;
    const isPicker = dialog.id.startsWith('mode-picker');
    label(dialog, title ?? worded(isPicker ? 'parley.model' : 'threadHistory.sidebar.title'));
  }
};

export const translateTold = () => {
  for (const title of document.querySelectorAll('[data-sonner-toast] [data-title]')) {
    const text = title.firstChild;
    const [said, key] = TOLD.find(([english]) => english.test(text?.data)) ?? [];
    if (said && worded(key)) text.data = text.data.replace(said, () => worded(key));
  }
};
