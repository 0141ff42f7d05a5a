// Sets styles that are computed, through the object model, because the content security policy refuses style attributes.
//
// In the flow: `page.svelte` → **`css_var`** → `components`.

import type { Attachment } from "svelte/attachments";

/** For `{@attach css({ "--width": … })}`. */
export function css(properties: Record<string, string>): Attachment<HTMLElement | SVGElement> {
  return (element) => {
    for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
  };
}
