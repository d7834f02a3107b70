// The editor's coding is the value of this component, as JSON: on the server nothing of it is kept.
const editor = codingEditor(
  element,
  (coding) => { props.value = JSON.stringify(coding); },
  props.has_curve ? (event) => document.dispatchEvent(new CustomEvent('event-chosen', { detail: event })) : null,
);
const show = () => editor.show(props.value ? JSON.parse(props.value) : null);
watch('value', show);
show();
if (props.has_curve) document.addEventListener('phases-moved', (event) => editor.move(event.detail));
