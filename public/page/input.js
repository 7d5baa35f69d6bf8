/* The input of the chat, which is React's: what is put there has to look like typed. */
export const putBack = (text, frames = 60) => {
  const input = document.getElementById('chat-input');
  if (!input && frames) requestAnimationFrame(() => putBack(text, frames - 1));
  if (!text || !input || input.value) return;
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(input, text);
  input.dispatchEvent(new Event('input', { bubbles: true }));
};
