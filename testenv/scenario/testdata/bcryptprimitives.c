/* Go 1.24 and later want ProcessPrng of bcryptprimitives.dll, which Wine has
   since version 9. With an older Wine this stands in; it may go with Debian 12. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size)
{
    return RtlGenRandom(data, (ULONG)size);
}
