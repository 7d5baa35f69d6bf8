/* A footnote is in the same answer, where Chainlit would open a tab; and other answers have one of its name. */
addEventListener('click', (event) => {
  const link = event.target.closest?.('.message-content a[href^="#"]');
  if (!link) return;
  event.preventDefault();
  const name = decodeURIComponent(link.hash.slice(1));
  link.closest('.message-content').querySelector(`#${CSS.escape(name)}`)?.scrollIntoView({ block: 'center' });
});
