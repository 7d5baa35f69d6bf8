/* A picture of another host is not fetched (parley/surfaces/page/gate.py): in place of an empty frame there is a link. */
addEventListener('error', ({ target: picture }) => {
  const frame = picture instanceof HTMLImageElement && picture.closest('.message-content [class~="md:max-w-md"]');
  if (!frame || new URL(picture.src).origin === location.origin) return;
  const link = document.createElement(frame.closest('a') ? 'span' : 'a');
  link.className = 'picture-link text-primary hover:underline';
  Object.assign(link, { href: picture.src, target: '_blank', rel: 'noreferrer' });
  link.textContent = picture.alt || picture.src;
  frame.querySelector('.picture-link')?.remove();
  frame.classList.add('picture-elsewhere');
  frame.append(link);
}, { capture: true });
